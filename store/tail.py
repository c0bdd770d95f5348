"""The newest records of one log, in memory, shared by all who read it.

    seqs   array of u64      [ s0 s1 s2 … ]   ascending, for bisection
    lines  list of bytes     [ l0 l1 l2 … ]   the envelopes, never copied
             ^ start: what lies before was dropped and waits for compaction

Reading never removes anything: a reader is only a position. Writers wake the
readers that stand at the head and wait.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from watchglass.protocol.cursor import BEGINNING, Seq

from .base import LogClosed, Record, Retention
from .numbering import ClockUs
from .run import Run, count_within

_COMPACT_DROPPED_MIN = 1024


class Tail:
    """Records after `trimmed_through`, bounded by bytes, count and age; the newest is always kept."""

    def __init__(self, retention: Retention, clock_us: ClockUs, begin: Seq = BEGINNING) -> None:
        """A tail that goes on behind `begin`: what lies before is not in memory."""
        self._retention = retention
        self._clock_us = clock_us
        self._seqs = array("Q")
        self._lines: list[bytes] = []
        self._start = 0
        self._closed = False
        self._removed = False
        self._waiters: list[asyncio.Future[None]] = []
        self.size_bytes = 0
        self.head = begin
        self.trimmed_through = begin

    def __len__(self) -> int:
        return len(self._lines) - self._start

    @property
    def oldest(self) -> Seq:
        """Sequence of the oldest kept record; 0 when there is none."""
        return Seq(self._seqs[self._start]) if len(self) else BEGINNING

    def extend(self, records: Iterable[Record]) -> None:
        """Take new records, drop what is over the bounds, wake who waits."""
        lines = self._lines
        size_bytes = self.size_bytes
        for seq, line in records:
            self._seqs.append(seq)
            lines.append(line)
            size_bytes += len(line)
            self.head = seq
        self.size_bytes = size_bytes
        bounds = self._retention
        if (
            size_bytes > bounds.max_bytes
            or len(lines) - self._start > bounds.max_events
            or bounds.max_age_s is not None
        ):
            self._trim()
        if self._waiters:
            self._wake()

    def holds(self, seq: Seq) -> bool:
        """Whether a kept record has exactly this sequence."""
        place = bisect_left(self._seqs, seq, self._start)
        return place < len(self._seqs) and self._seqs[place] == seq

    def read(self, *, after: Seq, max_records: int, max_bytes: int) -> Run:
        """Records after a position: as many as fit, at least one when there is one."""
        first = bisect_right(self._seqs, after, self._start)
        lines = self._lines[first : first + max_records]
        if len(lines) > 1:
            del lines[max(1, count_within(lines, max_bytes)) :]
        return Run(lines)

    def count(self, *, after: Seq, through: Seq) -> int:
        """How many records lie behind one position, up to another and with it."""
        first = bisect_right(self._seqs, after, self._start)
        return max(0, bisect_right(self._seqs, through, first) - first)

    def before_newest(self, count: int) -> Seq:
        """The position behind which the newest so many records lie, or all that are here."""
        place = len(self._seqs) - count
        return Seq(self._seqs[place - 1]) if place > self._start else self.trimmed_through

    async def wait(self, *, after: Seq) -> None:
        """Return when the head lies after this position; raise LogClosed when it never will."""
        while self.head <= after:
            if self._closed:
                raise LogClosed(removed=self._removed)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if not waiter.done() or waiter.cancelled():
                    self._forget(waiter)

    def close(self, *, removed: bool) -> None:
        """Nothing will follow: tell every reader that has everything."""
        self._closed = True
        self._removed = removed
        self._wake()

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def begin_at(self, seq: Seq) -> None:
        """Go on behind this sequence; for a tail that never held anything."""
        assert not self._lines, "its readers have a place already"
        self.head = self.trimmed_through = seq
        self._wake()

    def forget(self) -> None:
        """Hold nothing of what is there, for it can be had elsewhere."""
        if len(self):
            self.trimmed_through = Seq(self._seqs[-1])
        del self._seqs[:]
        del self._lines[:]
        self._start = self.size_bytes = 0

    def _trim(self) -> None:
        lines, bounds = self._lines, self._retention
        place, last, size_bytes = self._start, len(self._lines) - 1, self.size_bytes
        while place < last and (size_bytes > bounds.max_bytes or last - place >= bounds.max_events):
            size_bytes -= len(lines[place])
            place += 1
        if bounds.max_age_s is not None:
            # By the clock, never by the newest sequence, which runs ahead of it after the clock went back.
            oldest_us = max(0, self._clock_us() - bounds.max_age_s * 1_000_000)
            place = max(place, min(bisect_left(self._seqs, oldest_us, place), last))
        if place > self._start:
            self._drop(place)
        if self._start > _COMPACT_DROPPED_MIN and self._start > len(lines) // 2:
            self._compact()

    def _drop(self, end: int) -> None:
        """Let go of what lies before a place."""
        lines = self._lines
        for place in range(self._start, end):
            self.size_bytes -= len(lines[place])
            lines[place] = b""
        self.trimmed_through = Seq(self._seqs[end - 1])
        self._start = end

    def _compact(self) -> None:
        del self._seqs[: self._start]
        del self._lines[: self._start]
        self._start = 0
