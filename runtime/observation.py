"""Readers of a worker's log, or of several that are read as one. Readers pull, nobody pushes.

A reader is a position. It is woken, takes what lies after its position, and
goes on at its own pace; a slow one costs nobody anything.

    join:  check the cursor, wake the view → [ take head, pin the snapshot, place the reader ]
           the step in brackets never waits, so no event falls between them
    then:  snapshot → backlog (cursor, head] → live
    lost:  a cursor that cannot be honoured is a fault, or, if the reader asked for that, a
           `Reset`: it is placed at the head, in the same step with a new snapshot

Behind the head each reader goes by itself (`next_batch`, `take_ready`); at the
head it may `listen` together with all others (`audience.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from watchglass.protocol.cursor import Seq, decode_cursor, encode_cursor
from watchglass.protocol.errors import CursorExpired, CursorMalformed, CursorUnknown, ResourceLimitExceeded
from watchglass.protocol.feed_v2 import Reset
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.start import EARLIEST as EARLIEST
from watchglass.protocol.start import LATEST as LATEST
from watchglass.protocol.start import After, Earliest, FeedQuery, Latest, NoPlace, Start
from watchglass.store.base import ReadableLog, Record, Run

from .audience import Audiences, Seat, Take
from .merged_log import MergedLog
from .pins import pinned, unpinned
from .placing import find_place

SubjectPin = Callable[[Any, Seq, int], bytes]
"""The snapshot of a subject, of the kind that it is for; see `Pin`."""


class Subject(Protocol):
    """What is watched: a worker, or several as one (`chronicle.py`)."""

    @property
    def worker_id(self) -> WorkerId:
        """Whose events these are; of several, the runtime's name."""

    @property
    def log(self) -> ReadableLog:
        """Its events."""

    @property
    def is_complete(self) -> bool:
        """Whether it has ended and its log has its end: nothing will follow."""

    @property
    def whose(self) -> str:
        """Whose log it is, in the words of a fault."""

    async def wake(self) -> None:
        """Have ready what a snapshot is made of. Raises StoreIo, StoreMissing, StoreCorrupt."""

    def explain(self, lost: CursorUnknown) -> None:
        """Say more of what is lost, where there is more to say."""


class Reader:
    """One observer's place in one log."""

    def __init__(
        self,
        subject: Subject,
        position: Seq | None,
        audiences: Audiences,
        now_us: Callable[[], int],
        pin: SubjectPin = pinned,
        reset: Reset | None = None,
    ) -> None:
        """A reader at a position; None: at the head."""
        self._subject = subject
        self._log = subject.log
        self._audiences = audiences
        self._now_us = now_us
        self._pinned = partial(pin, subject)
        self.worker_id: WorkerId = subject.worker_id
        self._seat: Seat | None = None
        self.reset = reset
        """Why it does not begin where it asked to."""
        self._place(position)

    def _place(self, position: Seq | None) -> None:
        self.as_of = self._log.head
        self.position = self.as_of if position is None else position
        self.snapshot = self._pinned(self.position, self._now_us())

    @property
    def taken(self) -> Seq:
        """Sequence of the last event that it has taken; other than `position`, also while it listens."""
        return self.position if self._seat is None else self._seat.after

    @property
    def oldest(self) -> Seq:
        """Sequence of the oldest event that is kept now."""
        return self._log.oldest

    @property
    def head(self) -> Seq:
        """Sequence of the newest event now."""
        return self._log.head

    @property
    def worker_is_complete(self) -> bool:
        """Whether the worker has ended and its log has its end: nothing will follow."""
        return self._subject.is_complete

    @property
    def is_complete(self) -> bool:
        """Whether the worker's log is, and this reader has all of it."""
        return self._subject.is_complete and self.position >= self._log.head

    async def start_over(self, fault: CursorExpired) -> Reset:
        """Go on at the head with a new snapshot, for retention has overtaken this reader.

        Raises:
            StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
        """
        await self._subject.wake()
        self._place(None)
        return Reset(
            reason=fault.loss,
            requested=fault.asked,
            oldest=encode_cursor(self._log.oldest),
            head=encode_cursor(self.as_of),
        )

    def logs_behind(self, position: Seq) -> Sequence[ReadableLog]:
        """The logs that have something behind a position, each by itself where it reads many as one."""
        if isinstance(self._log, MergedLog):
            return self._log.logs_behind(position)
        return [self._log] if self._log.head > position else []

    async def count_replayed(self) -> int:
        """How many events lie between the position and `as_of`. Raises CursorExpired."""
        return await self._log.count(after=self.position, through=self.as_of)

    async def wait(self) -> None:
        """Return when something lies behind the position. Raises LogClosed."""
        await self._log.wait(after=self.position)

    async def next_batch(self) -> Run:
        """Wait for events after the position, then take what is ready and move on.

        Raises:
            CursorExpired: Retention overtook this reader.
            LogClosed: The log is at its end for good.
        """
        run = await self._ready()
        self.position = run.last
        return run

    async def take_ready(self) -> Run:
        """What lies after the position now, and move on; nothing at the head. Raises CursorExpired."""
        run = await self._log.read(after=self.position)
        if run:
            self.position = run.last
        else:
            self._pass_what_left()
        return run

    async def listen(self, take: Take) -> None:
        """Have `take` called with what follows, as it comes, until it says False.

        For a reader at the head: `take_ready` gave nothing a moment ago. `take`
        gets the same run as everybody who listens, and must not wait. What it
        was given it has taken, also when this call is cancelled.

        Raises as `next_batch`, and what `take` raises.
        """
        audience = self._audiences.of(self._log)
        assert self.position >= self._log.head, "who is behind must go by itself"
        seat = self._seat = audience.sit(take, after=self.position)
        try:
            await seat.left
        finally:
            self.position = audience.leave(seat)
            self._seat = None
            self._audiences.left(self._log)

    async def __aiter__(self) -> AsyncIterator[Record]:
        """Event after event; ends as `next_batch` does.

        The position moves with each event, so whoever leaves the loop and
        comes back goes on with the next one.
        """
        while True:
            for record in await self._ready():
                self.position = record.seq
                yield record

    async def _ready(self) -> Run:
        """What lies after the position, at least one event."""
        while True:
            await self._log.wait(after=self.position)
            run = await self._log.read(after=self.position)
            if run:
                return run
            self._pass_what_left()

    def _pass_what_left(self) -> None:
        """Nothing is to be read up to the head: of several logs, the one that had it may have left."""
        self.position = max(self.position, self._log.head)


class Observation:
    """Places readers, and knows how many there are."""

    def __init__(self, observers_max: int, now_us: Callable[[], int]) -> None:
        self._observers_max = observers_max
        self._now_us = now_us
        self._audiences = Audiences()
        self.observer_count = 0

    @asynccontextmanager
    async def join(
        self,
        subject: Subject,
        cursor: FeedQuery | str | None,
        pin: SubjectPin = pinned,
    ) -> AsyncIterator[Reader]:
        """A reader after `cursor` (none or `latest`: from now on, `earliest`: from the first kept event).

        `cursor` may be a whole query, which says more; its filter is the caller's.
        `pin` says the snapshot.

        Raises:
            CursorMalformed, CursorUnknown: It cannot be resumed from.
            ResourceLimitExceeded: There are too many observers.
            StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
        """
        if self.observer_count >= self._observers_max:
            raise ResourceLimitExceeded("observers", self._observers_max)
        self.observer_count += 1  # From here on, for the next line may wait.
        try:
            query = cursor if isinstance(cursor, FeedQuery) else _query(cursor)
            position, lost = await self._find_place(subject, query)
            if pin is not unpinned:
                await subject.wake()
            reset = None if lost is None else _reset(subject.log, lost)
            yield Reader(subject, position, self._audiences, self._now_us, pin, reset)
        finally:
            self.observer_count -= 1

    async def _find_place(
        self, subject: Subject, query: FeedQuery
    ) -> tuple[Seq | None, CursorUnknown | None]:
        try:
            return await find_place(
                subject.log, query.start, query.requested, self._now_us(), subject.whose
            ), None
        except CursorUnknown as lost:
            subject.explain(lost)
            if query.on_expired == "close":
                raise
            return None, lost


def _reset(log: ReadableLog, lost: CursorUnknown) -> Reset:
    return Reset(
        reason=lost.loss,
        requested=lost.asked,
        oldest=encode_cursor(log.oldest),
        head=encode_cursor(log.head),
    )


def _query(cursor: str | None) -> FeedQuery:
    return FeedQuery(requested=cursor or LATEST, start=_start(cursor))


def _start(cursor: str | None) -> Start:
    """A place in the words of version 1."""
    if cursor is None or cursor == LATEST:
        return Latest()
    if cursor == EARLIEST:
        return Earliest()
    try:
        return After(decode_cursor(cursor))
    except CursorMalformed:
        return NoPlace(cursor)
