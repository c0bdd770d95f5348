"""Numbers events and encodes them: one place for a whole store.

The sequence is runtime-wide, so the numbering belongs to the store and not to
a log. A store that outlives its process gives a `Ceiling`: no sequence is used
before it is known that a crash cannot make it be used again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from watchglass.protocol.cursor import BEGINNING, SEQ_MAX, Seq, next_seq
from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.events import Event
from watchglass.protocol.frames import envelope_middle, fill_envelope
from watchglass.protocol.identity import WorkerId

from .base import Record

ClockUs = Callable[[], int]
"""Microseconds since 1970, UTC."""


def system_clock_us() -> int:
    """Microseconds since 1970 by the system's clock."""
    return time.time_ns() // 1000


_record = tuple.__new__
"""Makes a record at half the price of calling its class, which matters to each event."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all of it is UTC.


def rfc3339(time_us: int) -> str:
    """A time as envelopes and answers carry it: UTC with microseconds and `Z`."""
    return f"{(_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec='microseconds')}Z"


class Ceiling(Protocol):
    """Room for sequences: those `below` may be used."""

    @property
    def below(self) -> int:
        """The first sequence that must not be used yet."""

    def lift(self, seq: Seq) -> None:
        """Make room for this sequence and some more. Raises StoreIo; then there is none."""


class _Unbounded:
    """The ceiling of a store that is gone with its process."""

    below = SEQ_MAX

    def lift(self, seq: Seq) -> None:
        """There is always room."""


class Numbering:
    """Gives out sequences that grow strictly, whatever the clock does."""

    def __init__(self, clock_us: ClockUs, last: Seq = BEGINNING, ceiling: Ceiling | None = None) -> None:
        self.clock_us = clock_us
        self._ceiling = ceiling or _Unbounded()
        self._second_us = -1_000_000
        self._second_text = ""
        self.last = last

    def encode(self, worker_id: WorkerId, events: Sequence[Event]) -> list[Record]:
        """Records for all events, or none and no sequence used.

        Raises:
            InvalidRequest: An event's data cannot be said in JSON.
            StoreIo: There is no room for more sequences, and none could be made.
        """
        now_us = self.clock_us()
        middle = envelope_middle(worker_id, self._text_of(now_us))
        records: list[Record] = []
        seq = self.last
        try:
            for number, event in enumerate(events, next_seq(seq, now_us)):
                seq = Seq(number)
                records.append(_record(Record, (seq, fill_envelope(seq, middle, event))))
        except TypeError as fault:  # orjson.JSONEncodeError is a TypeError.
            raise InvalidRequest(f"event {event.name!r}: data cannot be encoded as JSON: {fault}") from None
        if seq >= self._ceiling.below:
            self._ceiling.lift(seq)
        self.last = seq
        return records

    def reserve(self) -> Seq:
        """One sequence that no event will have: it orders what is no event among the events.

        Raises:
            StoreIo: See `encode`.
        """
        seq = next_seq(self.last, self.clock_us())
        if seq >= self._ceiling.below:
            self._ceiling.lift(seq)
        self.last = seq
        return seq

    def pass_by(self, seq: Seq) -> None:
        """Issue higher sequences than this one, which is somebody else's. Raises StoreIo, as `encode`."""
        if seq >= self._ceiling.below:
            self._ceiling.lift(seq)
        self.last = max(self.last, seq)

    def _text_of(self, now_us: int) -> str:
        """`rfc3339`, made from the last one: all but its last digits change once a second."""
        micros = now_us - self._second_us
        if not 0 <= micros < 1_000_000:
            micros = now_us % 1_000_000
            self._second_us = now_us - micros
            self._second_text = rfc3339(now_us)[:-7]
        return f"{self._second_text}{micros:06d}Z"
