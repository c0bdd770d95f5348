"""Numbers events and encodes them: one place for a whole store.

The sequence is runtime-wide, so the numbering belongs to the store and not to
a log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from watchglass.protocol.cursor import BEGINNING, Seq, next_seq
from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.events import Event
from watchglass.protocol.frames import encode_envelope
from watchglass.protocol.identity import WorkerId

from .base import Record

ClockUs = Callable[[], int]
"""Microseconds since 1970, UTC."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all of it is UTC.


def rfc3339(time_us: int) -> str:
    """A time as envelopes and answers carry it: UTC with microseconds and `Z`."""
    return f"{(_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec='microseconds')}Z"


class Numbering:
    """Gives out sequences that grow strictly, whatever the clock does."""

    def __init__(self, clock_us: ClockUs, last: Seq = BEGINNING) -> None:
        self._clock_us = clock_us
        self._last = last

    def encode(self, worker_id: WorkerId, events: Sequence[Event]) -> list[Record]:
        """Records for all events, or none and no sequence used.

        Raises:
            InvalidRequest: An event's data cannot be said in JSON.
        """
        now_us = self._clock_us()
        ts = rfc3339(now_us)
        records: list[Record] = []
        seq = self._last
        for event in events:
            seq = next_seq(seq, now_us)
            try:
                line = encode_envelope(seq, worker_id, ts, event)
            except TypeError as fault:  # orjson.JSONEncodeError is a TypeError.
                raise InvalidRequest(
                    f"event {event.name!r}: data cannot be encoded as JSON: {fault}"
                ) from None
            records.append(Record(seq, line))
        self._last = seq
        return records

    def pass_by(self, seq: Seq) -> None:
        """Issue higher sequences than this one, which somebody else has issued."""
        self._last = max(self._last, seq)
