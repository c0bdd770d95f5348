"""The logs of several workers and the runtime's own, as one log that can be read like any other.

    the logs    ─────────────── merge ───────────────▶│
    this one    ( read from the logs themselves      )[ … newest … ]   in memory
                                                 begin ^        head ^

What is near the head stands in memory and is shared by all who read it; who is
further behind reads the logs themselves, at its own pace. The invariants:

* Nothing at or below `head` will ever become visible: `advance` takes no event
  over `visible_through`, and keeps it for later.
* `head`, and every position that is given out, is the sequence of an event of
  the runtime (or of one that retention dropped), so that a reader can come back
  with it over any restart. `holds` knows all of them, whoever's they are.
* `trimmed_through` is the newest event that any of the logs has dropped: from
  there on all is complete. A reader behind it has lost something, and is told whose.
* A worker that is removed leaves with all its events; the runtime's log says so,
  and of which sequences they were. One that was imported never comes in: its
  events are another runtime's, and keep its sequences.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Final, Protocol

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired
from watchglass.store.base import (
    READ_BYTES_MAX,
    READ_RECORDS_MAX,
    ReadableLog,
    Record,
    Retention,
    Run,
)
from watchglass.store.merging import Member, Merge
from watchglass.store.numbering import ClockUs
from watchglass.store.tail import Tail

PAUSED_MAX: Final = 32
"""Readers behind the head whose way through the logs is kept while they send; others find theirs anew."""
_TAIL: Final = Retention(max_bytes=1 << 20, max_events=1 << 30)
_seq_of = itemgetter(0)
_head_of: Callable[[Member], int] = attrgetter("log.head")


class Members(Protocol):
    """What a merged log is made of. Each call may say something new."""

    def chosen(self) -> Iterable[Member]:
        """The logs that are read as one."""

    def everybody(self) -> Iterable[Member]:
        """Every log whose events are this runtime's."""

    def is_gone(self, source: Member) -> bool:
        """Whether a worker was removed."""

    async def was_removed(self, seq: Seq) -> bool:
        """Whether the event with this sequence went with its worker. Raises what `Log.read` raises."""


class MergedLog:
    """See `ReadableLog`. Made by `Chronicle`, which tells it of every append and says when it begins."""

    def __init__(
        self, members: Members, settle: Callable[[], None], clock_us: ClockUs, issued_through: Seq
    ) -> None:
        """`settle` lets this log take what is visible by now; it hears what becomes visible from now on."""
        self._members = members
        self._settle = settle
        self._tail = Tail(_TAIL, clock_us)
        self._heard: list[Record] = []
        self._issued_through = issued_through
        self._newest = max((source.log.head for source in members.chosen()), default=BEGINNING)
        self._paused: OrderedDict[Seq, Merge] = OrderedDict()
        self.has_begun = False

    # Writing.

    def begin(self, visible_through: Seq) -> bool:
        """Go on behind what was issued before, when all of that is visible; whether it is.

        What is earlier is read from the logs, for nobody heard all of it.
        """
        issued_through = self._issued_through
        if visible_through < issued_through:
            return False
        earlier = [record.seq for record in self._heard if record.seq <= issued_through]
        self._heard = [record for record in self._heard if record.seq > issued_through]
        newest = max([self._newest, *earlier])
        if newest > BEGINNING:
            self._tail.begin_at(newest)
        self.has_begun = True
        return True

    def hear(self, records: Sequence[Record]) -> None:
        """Something became visible in one of the logs; `advance` follows."""
        self._heard += records

    def advance(self, visible_through: Seq) -> bool:
        """Take what was heard, as far as nothing can come in before it; whether all of it was taken."""
        heard = self._heard
        if not heard or not self.has_begun:
            return not heard
        heard.sort(key=_seq_of)
        if heard[-1].seq <= visible_through:
            self._heard = []
            self._tail.extend(heard)
            return True
        ready = [record for record in heard if record.seq <= visible_through]
        self._heard = heard[len(ready) :]
        if ready:
            self._tail.extend(ready)
        return False

    def close(self) -> None:
        """Nothing will follow: readers who have everything get `LogClosed`."""
        self._tail.close(removed=False)

    # Reading.

    @property
    def head(self) -> Seq:
        """See `ReadableLog`. It moves once a turn: who found nothing behind it may wait there."""
        return self._tail.head

    @property
    def oldest(self) -> Seq:
        """The oldest position that can be resumed from."""
        return self.trimmed_through

    @property
    def trimmed_through(self) -> Seq:
        """See `ReadableLog`."""
        return max((source.log.trimmed_through for source in self._members.chosen()), default=BEGINNING)

    @property
    def most_trimmed(self) -> Member:
        """The log that dropped the newest event of all."""
        return max(self._members.chosen(), key=lambda source: source.log.trimmed_through)

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Run:
        """See `ReadableLog`; CursorExpired says whose events were dropped."""
        while after < self._tail.trimmed_through:
            merge = self._paused.pop(after, None)
            is_fresh = merge is None
            try:
                merge = merge or self._merge(after)
                lines = await merge.take(max_records, max_bytes)
            except CursorExpired as fault:
                raise self._expired(after, fault.worker_id) from None
            if lines:
                self._pause(merge)
                return Run(lines)
            if is_fresh and merge.through >= self._tail.trimmed_through:
                break  # Whose events these were has left.
        return self._tail.read(after=after, max_records=max_records, max_bytes=max_bytes)

    def _pause(self, merge: Merge) -> None:
        self._paused[merge.position] = merge
        if len(self._paused) > PAUSED_MAX:
            self._paused.popitem(last=False)

    def _merge(self, after: Seq) -> Merge:
        return Merge(
            self._members.chosen(),
            after=after,
            through=self._tail.trimmed_through,
            is_gone=self._members.is_gone,
        )

    def _expired(self, after: Seq, worker_id: str | None) -> CursorExpired:
        fault = CursorExpired(encode_cursor(after), encode_cursor(self.oldest), encode_cursor(self.head))
        return fault.of(None if worker_id == "runtime" else worker_id)

    async def holds(self, seq: Seq) -> bool:
        """Whether an event of the runtime has this sequence, or had it when its worker was removed."""
        self._settle()
        if not self.trimmed_through <= seq:
            return False
        for source in list(self._members.everybody()):
            log = source.log
            if log.trimmed_through == seq > BEGINNING:
                return True
            if log.oldest <= seq <= log.head and await log.holds(seq):
                return True
        return await self._members.was_removed(seq)

    async def count(self, *, after: Seq, through: Seq) -> int:
        """See `ReadableLog`."""
        return await self._count(after, through, None)

    async def _count(self, after: Seq, through: Seq, enough: int | None) -> int:
        """The same, or as soon as there are enough of them some number that is not less."""
        counted = 0
        sources = [source for source in self._members.chosen() if source.log.head > after]
        for source in sorted(sources, key=_head_of, reverse=True):
            if source.log.trimmed_through > after:
                raise self._expired(after, source.worker_id)
            if source.log.oldest <= through:
                counted += await source.log.count(after=after, through=through)
                await asyncio.sleep(0)
            if enough is not None and counted >= enough:
                break
        return counted

    def logs_behind(self, position: Seq) -> list[ReadableLog]:
        """Those of the logs that have something behind a position. At the head no log is looked at."""
        self._settle()
        if position >= self.head:
            return []
        return [source.log for source in self._members.chosen() if source.log.head > position]

    async def before_newest(self, count: int) -> Seq:
        """See `ReadableLog`. From the head outwards, so that logs which end before it are not opened."""
        begin, head = self.trimmed_through, self.head
        reach = 1
        while head - reach > begin and await self._count(Seq(head - reach), head, count + 1) <= count:
            reach *= 2
        low = max(int(begin), head - reach)
        if await self._count(Seq(low), head, count + 1) <= count:
            return begin
        high = int(head)
        while high - low > 1:  # More than `count` events lie behind `low`, not so behind `high`.
            middle = (low + high) // 2
            if await self._count(Seq(middle), head, count + 1) > count:
                low = middle
            else:
                high = middle
        return Seq(high)

    async def wait(self, *, after: Seq) -> None:
        """See `ReadableLog`. Raises LogClosed."""
        await self._tail.wait(after=after)
