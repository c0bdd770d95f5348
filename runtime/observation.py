"""Readers of a worker's log. Readers pull, nobody pushes.

A reader is a position. It is woken, takes what lies after its position, and
goes on at its own pace; a slow one costs nobody anything.

    join:  check the cursor, wake the view → [ take head, pin the snapshot, place the reader ]
           the step in brackets never waits, so no event falls between them
    then:  snapshot → backlog (cursor, head] → live

Behind the head each reader goes by itself (`next_batch`, `take_ready`); at the
head it may `listen` together with all others (`audience.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from watchglass.protocol.cursor import BEGINNING, Seq, decode_cursor, encode_cursor
from watchglass.protocol.errors import CursorUnknown, ResourceLimitExceeded
from watchglass.protocol.frames import encode_snapshot
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import Log, Record, Run
from watchglass.store.numbering import rfc3339

from .audience import Audiences, Take
from .worker import Worker

EARLIEST = "earliest"
LATEST = "latest"


class Reader:
    """One observer's place in one worker's log."""

    def __init__(self, worker: Worker, position: Seq, time_us: int, audiences: Audiences) -> None:
        self._log: Log = worker.log
        self._audiences = audiences
        self.worker_id: WorkerId = worker.worker_id
        self.position = position
        self.as_of = worker.log.head
        self.snapshot = encode_snapshot(position, worker.worker_id, rfc3339(time_us), worker.snapshot())

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
        return run

    async def listen(self, take: Take) -> None:
        """Have `take` called with what follows, as it comes, until it says False.

        For a reader at the head: `take_ready` gave nothing a moment ago. `take`
        gets the same run as everybody who listens, and must not wait. What it
        was given it has taken, also when this call is cancelled.

        Raises as `next_batch`, and what `take` raises.
        """
        audience = self._audiences.of(self._log)
        assert self.position == self._log.head, "who is behind must go by itself"
        seat = audience.sit(take)
        try:
            await seat.left
        finally:
            self.position = audience.leave(seat)
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


class Observation:
    """Places readers, and knows how many there are."""

    def __init__(self, observers_max: int, now_us: Callable[[], int]) -> None:
        self._observers_max = observers_max
        self._now_us = now_us
        self._audiences = Audiences()
        self.observer_count = 0

    @asynccontextmanager
    async def join(self, worker: Worker, cursor: str | None) -> AsyncIterator[Reader]:
        """A reader after `cursor` (none or `latest`: from now on, `earliest`: from the first kept event).

        Raises:
            CursorMalformed, CursorUnknown: It cannot be resumed from.
            ResourceLimitExceeded: There are too many observers.
        """
        if self.observer_count >= self._observers_max:
            raise ResourceLimitExceeded("observers", self._observers_max)
        self.observer_count += 1  # From here on, for the next line may wait.
        try:
            position = await _position(worker, cursor)
            await worker.view.wake(worker.log)
            place = worker.log.head if position is None else position
            yield Reader(worker, place, self._now_us(), self._audiences)
        finally:
            self.observer_count -= 1


async def _position(worker: Worker, cursor: str | None) -> Seq | None:
    """Where a cursor stands; None means the head at the moment of the join."""
    if cursor is None or cursor == LATEST:
        return None
    log = worker.log
    if cursor == EARLIEST:
        return log.trimmed_through
    seq = decode_cursor(cursor)
    if seq == log.trimmed_through or await log.holds(seq):
        return seq
    raise CursorUnknown(_why_unknown(log, seq), cursor, encode_cursor(log.oldest), encode_cursor(log.head))


def _why_unknown(log: Log, seq: Seq) -> str:
    if seq > log.head:
        return "lies ahead of this worker's newest event"
    if seq < log.oldest and log.trimmed_through > BEGINNING:
        return "is older than what retention keeps of this worker"
    return "is no event of this worker"
