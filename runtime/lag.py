"""How far behind its logs an observer is, found out when somebody asks.

Exact for the moment at which it is asked: events behind a position up to the
head that each log has then, and how long ago the oldest of them was written.
What lies behind the tail in memory is counted on the disk, a segment at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import CursorExpired
from watchglass.protocol.frames import envelope_time_us
from watchglass.store.base import ReadableLog

_TRIES = 3
"""Retention may come to a position while it is counted from."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What an observer has not been sent yet."""

    events: int = 0
    age_s: float = 0.0
    """Of the oldest of them; 0 when there is none."""
    overtaken: bool = False
    """Retention has dropped some already; `events` are those that are left."""


NONE = Lag()


async def lag_behind(logs: Iterable[ReadableLog], position: Seq, now_us: int) -> Lag:
    """Over all these logs together.

    Raises:
        StoreIo, StoreMissing, StoreCorrupt: A log cannot be read.
    """
    found = NONE
    for log in logs:
        if log.head > position:
            found = _sum(found, await _lag_of(log, position, now_us))
    return found


async def _lag_of(log: ReadableLog, position: Seq, now_us: int) -> Lag:
    for _ in range(_TRIES):
        through, after = log.head, max(position, log.trimmed_through)
        try:
            events = await log.count(after=after, through=through)
            oldest = await log.read(after=after, max_records=1)
        except CursorExpired:
            continue
        age_s = max(0, now_us - envelope_time_us(oldest.lines[0])) / 1e6 if events else 0.0
        return Lag(events, age_s, overtaken=after > position)
    return Lag(overtaken=True)


def _sum(one: Lag, other: Lag) -> Lag:
    return Lag(one.events + other.events, max(one.age_s, other.age_s), one.overtaken or other.overtaken)


def most(lags: Iterable[Lag]) -> Lag:
    """The most of each."""
    found = NONE
    for lag in lags:
        overtaken = found.overtaken or lag.overtaken
        found = Lag(max(found.events, lag.events), max(found.age_s, lag.age_s), overtaken)
    return found
