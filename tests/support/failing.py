"""A memory store that refuses writes while a test says so, as a full disk does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreIo
from watchglass.protocol.events import Event
from watchglass.store.base import (
    NO_FILES,
    READ_BYTES_MAX,
    READ_RECORDS_MAX,
    Log,
    OnVisible,
    Record,
    Retention,
    Run,
    StreamOffsets,
)
from watchglass.store.memory import MemoryStore, system_clock_us
from watchglass.store.scratch import scratch_directory
from watchglass.store.worker_record import WorkerRecord


@dataclass(slots=True)
class Room:
    """Whether there is any, and whether what is written can be synced."""

    is_full: bool = False
    syncs_fail: bool = False
    refused: int = 0

    def check(self) -> None:
        """Raises StoreIo when there is none."""
        if self.is_full:
            self.refused += 1
            raise StoreIo("write", "events", "No space left on device")


class FailingLog:
    """A log in a room that may be full."""

    def __init__(self, log: Log, room: Room) -> None:
        self._log = log
        self._room = room

    @property
    def head(self) -> Seq:
        return self._log.head

    @property
    def oldest(self) -> Seq:
        return self._log.oldest

    @property
    def trimmed_through(self) -> Seq:
        return self._log.trimmed_through

    @property
    def offsets(self) -> StreamOffsets:
        return self._log.offsets

    async def append(
        self, events: Sequence[Event], *, durable: bool = False, offsets: StreamOffsets | None = None
    ) -> Sequence[Record]:
        self._room.check()
        records = await self._log.append(events, durable=durable, offsets=offsets)
        if durable and self._room.syncs_fail:
            raise StoreIo("fdatasync", "events", "Input/output error")
        return records

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Run:
        return await self._log.read(after=after, max_records=max_records, max_bytes=max_bytes)

    async def holds(self, seq: Seq) -> bool:
        return await self._log.holds(seq)

    async def count(self, *, after: Seq, through: Seq) -> int:
        return await self._log.count(after=after, through=through)

    async def before_newest(self, count: int) -> Seq:
        return await self._log.before_newest(count)

    async def wait(self, *, after: Seq) -> None:
        await self._log.wait(after=after)


class FailingStore(MemoryStore):
    """A memory store in a room that may be full."""

    def __init__(self, path: Path, room: Room) -> None:
        super().__init__(path, Retention(), system_clock_us)
        self._room = room

    @property
    def runtime_log(self) -> Log:
        return FailingLog(super().runtime_log, self._room)

    async def create(
        self, record: WorkerRecord, on_visible: OnVisible, *, beside: Mapping[str, bytes] = NO_FILES
    ) -> Log:
        self._room.check()
        return FailingLog(await super().create(record, on_visible, beside=beside), self._room)

    async def save(self, record: WorkerRecord, *, durable: bool = True) -> None:
        self._room.check()
        await super().save(record, durable=durable)


@asynccontextmanager
async def open_failing_store() -> AsyncIterator[tuple[FailingStore, Room]]:
    """The store, and the door to its room."""
    room = Room()
    with scratch_directory() as path:
        store = FailingStore(path, room)
        try:
            yield store, room
        finally:
            await store.close()
