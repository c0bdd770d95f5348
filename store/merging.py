"""Several logs read as one, from one position to another.

    w1        ·  3  ·  ·  7  ·  ·  12
    w2        1  ·  ·  5  ·  ·  9  ·         ─▶  3 5 7 9     (after 1, through 9)
    runtime   ·  ·  4? …                           4 was dropped: CursorExpired, and it says whose

Everything at or below `through` is visible before a merge begins, so what it has
to pass never changes: no event can come in behind it. What is left of a merge
when somebody has enough for now can be gone on with later.

* A log is opened when its turn comes. One whose head lies behind the position is
  never touched, and one that begins later waits unopened.
* It holds at most `BUFFER_BYTES_MAX` and one event of each log whose turn it is.
* A log that has left meanwhile (`is_gone`) has no more to say; any other that
  cannot be read ends the merge, for its events would be missing in silence.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired, StoreFault
from watchglass.protocol.frames import envelope_seq
from watchglass.protocol.identity import WorkerId

from .base import READ_BYTES_MAX, READ_RECORDS_MAX, ReadableLog

BUFFER_BYTES_MAX: Final = 1 << 20
_CHUNK_BYTES_MIN: Final = 4 << 10
_READS_PER_TURN: Final = 16
"""Reads of files between two chances for everybody else on the loop."""


class Member(NamedTuple):
    """One of the logs, and whose it is; None: the runtime's own."""

    worker_id: WorkerId | None
    log: ReadableLog


IsGone = Callable[[Member], bool]


class _Source:
    """A log whose turn has come or may come, and what was read of it and not passed on."""

    __slots__ = ("after", "is_open", "key", "lines", "log", "member", "order", "place")

    def __init__(self, member: Member, order: int, after: Seq) -> None:
        self.member = member
        self.log = member.log
        self.order = order
        self.after = after
        self.lines: Sequence[bytes] = ()
        self.place = 0
        self.key = max(self.log.oldest, after + 1)
        """Its next event has this sequence or a higher one."""
        self.is_open = False

    def __lt__(self, other: _Source) -> bool:
        return (self.key, self.order) < (other.key, other.order)


class Merge:
    """One way through the logs. Used by one reader at a time."""

    def __init__(self, members: Iterable[Member], *, after: Seq, through: Seq, is_gone: IsGone) -> None:
        """Raises CursorExpired: something behind `after` was dropped already."""
        self.position = after
        self.through = through
        self._is_gone = is_gone
        self._silent: list[_Source] = []
        self._open = 0
        self._reads = 0
        self._heap: list[_Source] = []
        for order, member in enumerate(members):
            self._add(member, order)
        heapify(self._heap)

    def _add(self, member: Member, order: int) -> None:
        log, after = member.log, self.position
        if log.head == BEGINNING:
            self._silent.append(_Source(member, order, after))
        elif log.head > after:
            if log.trimmed_through > after:
                raise expired(member, after)
            source = _Source(member, order, after)
            if log.oldest <= after:
                self._count(source, is_open=True)
            if source.key <= self.through:
                self._heap.append(source)

    async def take(self, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX) -> list[bytes]:
        """The next events, as many as fit (at least one), or none when it has come to its end.

        Raises:
            CursorExpired: Retention overtook it.
            StoreIo, StoreMissing, StoreCorrupt: One of the logs cannot be read.
        """
        await self._ask_the_silent()
        taken: list[bytes] = []
        size_bytes = 0
        while self._heap and len(taken) < max_records and size_bytes < max_bytes:
            source = heappop(self._heap)
            if source.place == len(source.lines) and not await self._fill(source):
                continue
            bound = min(self._heap[0].key - 1 if self._heap else self.through, self.through)
            if source.key <= bound or self._is_tie(source):
                some = self._pass(source, bound, max_records - len(taken))
                size_bytes += sum(map(len, some))
                taken += some
            if source.key <= self.through:
                heappush(self._heap, source)
        return taken

    def _is_tie(self, source: _Source) -> bool:
        """Two events with one sequence, which no store issues: neither may hold up the other."""
        return bool(self._heap) and source.key == self._heap[0].key <= self.through

    def _pass(self, source: _Source, bound: int, count_max: int) -> list[bytes]:
        """What comes before any other log's next event."""
        lines, place = source.lines, source.place
        end = min(len(lines), place + count_max)
        end = max(place + 1, bisect_right(lines, bound, place, end, key=envelope_seq))
        some = list(lines[place:end])
        source.place = end
        source.after = self.position = envelope_seq(some[-1])
        source.key = source.after + 1 if end == len(lines) else envelope_seq(lines[end])
        return some

    async def _fill(self, source: _Source) -> bool:
        """Read on; whether there is something, up to the end of this merge."""
        chunk = max(_CHUNK_BYTES_MIN, min(READ_BYTES_MAX, BUFFER_BYTES_MAX // max(1, self._open)))
        source.lines, source.place = (), 0
        self._count(source, is_open=False)
        await self._breathe()
        try:
            run = await source.log.read(after=source.after, max_bytes=chunk)
        except CursorExpired:
            if self._is_gone(source.member):
                return False
            raise expired(source.member, source.after) from None
        except StoreFault:
            if self._is_gone(source.member):
                return False
            raise
        if not run:
            return False
        self._count(source, is_open=True)
        source.lines = run.lines
        source.key = envelope_seq(source.lines[0])
        return source.key <= self.through

    async def _ask_the_silent(self) -> None:
        """One that says of itself that it is empty may be one that could not be read: then it raises."""
        silent, self._silent = self._silent, []
        for source in silent:
            await self._fill(source)
            source.lines = ()

    def _count(self, source: _Source, *, is_open: bool) -> None:
        self._open += is_open - source.is_open
        source.is_open = is_open

    async def _breathe(self) -> None:
        self._reads += 1
        if self._reads % _READS_PER_TURN == 0:
            await asyncio.sleep(0)


def expired(member: Member, asked: Seq) -> CursorExpired:
    """Retention dropped events of this log behind a position."""
    log = member.log
    fault = CursorExpired(encode_cursor(asked), encode_cursor(log.trimmed_through), encode_cursor(log.head))
    return fault.of(member.worker_id)
