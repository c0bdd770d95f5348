"""A store that keeps everything in memory, bounded for each worker.

It promises what `base` promises except survival: its data ends with the
process. A worker's files (raw output, workspace) stand in a scratch folder.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired, StoreIo, WorkerExists, WorkerNotFound
from watchglass.protocol.events import Event
from watchglass.protocol.identity import RuntimeId, WorkerId

from .base import (
    NO_FILES,
    READ_BYTES_MAX,
    READ_RECORDS_MAX,
    Finding,
    Log,
    Onlooker,
    OnVisible,
    Record,
    Retention,
    Run,
    StreamOffsets,
)
from .numbering import ClockUs, Numbering
from .numbering import system_clock_us as system_clock_us
from .scratch import scratch_directory
from .spreading import spread_folders_in
from .tail import Tail
from .worker_record import WorkerRecord

WORKERS = "workers"


@dataclass(slots=True)
class MemoryGround:
    """What the logs of a store share."""

    numbering: Numbering
    onlooker: Onlooker | None = None


class MemoryLog:
    """A log that is nothing but its tail."""

    def __init__(
        self, worker_id: WorkerId | None, ground: MemoryGround, retention: Retention, on_visible: OnVisible
    ) -> None:
        """`worker_id` None is the runtime's own."""
        self._worker_id = worker_id
        self._name = "runtime" if worker_id is None else worker_id
        self._ground = ground
        self._numbering = numbering = ground.numbering
        self.on_visible = on_visible
        self._tail = Tail(retention, numbering.clock_us)
        self.offsets = StreamOffsets()

    @property
    def head(self) -> Seq:
        """Sequence of the newest event; 0 before the first."""
        return self._tail.head

    @property
    def oldest(self) -> Seq:
        """Sequence of the oldest kept event; 0 when there is none."""
        return self._tail.oldest

    @property
    def trimmed_through(self) -> Seq:
        """Sequence of the newest event that retention dropped; 0 when it dropped none."""
        return self._tail.trimmed_through

    async def append(
        self,
        events: Sequence[Event],
        *,
        durable: bool = False,  # noqa: ARG002 - memory has one level.
        offsets: StreamOffsets | None = None,
    ) -> Sequence[Record]:
        """See `Log.append`."""
        records = self._numbering.encode(self._name, events)
        self._tail.extend(records)
        if self._ground.onlooker is not None:
            self._ground.onlooker(self._worker_id, records)
        self.offsets = offsets or self.offsets
        self.on_visible(records, events)
        return records

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Run:
        """See `Log.read`."""
        if after < self._tail.trimmed_through:
            raise CursorExpired(encode_cursor(after), encode_cursor(self.oldest), encode_cursor(self.head))
        return self._tail.read(after=after, max_records=max_records, max_bytes=max_bytes)

    async def holds(self, seq: Seq) -> bool:
        """See `Log.holds`."""
        return self._tail.holds(seq)

    async def count(self, *, after: Seq, through: Seq) -> int:
        """See `Log.count`."""
        if after < self._tail.trimmed_through:
            raise CursorExpired(encode_cursor(after), encode_cursor(self.oldest), encode_cursor(self.head))
        return self._tail.count(after=after, through=through)

    async def before_newest(self, count: int) -> Seq:
        """See `Log.before_newest`."""
        return self._tail.before_newest(count)

    async def wait(self, *, after: Seq) -> None:
        """See `Log.wait`."""
        await self._tail.wait(after=after)

    def fill(self, records: Iterable[Record], trimmed_through: Seq) -> None:
        """Take a log that was written elsewhere. For a fresh one that nobody knows yet; in a thread."""
        self._tail.trimmed_through = trimmed_through
        batch: list[Record] = []
        for record in records:
            batch.append(record)
            if len(batch) == READ_RECORDS_MAX:
                self._tail.extend(batch)
                batch.clear()
        self._tail.extend(batch)

    def close(self, *, removed: bool) -> None:
        """End the log for its readers."""
        self._tail.close(removed=removed)


class MemoryStore:
    """Logs and records of one runtime, gone with the process."""

    backend: Literal["memory", "fs_store"] = "memory"
    durability: Literal["none", "os", "fsync"] = "none"
    findings: Sequence[Finding] = ()
    runtime_id: RuntimeId | None = None

    def __init__(self, root: Path, retention: Retention, clock_us: ClockUs) -> None:
        self.path = root
        self.retention = retention
        self._numbering = Numbering(clock_us)
        self._ground = MemoryGround(self._numbering)
        self._records: dict[WorkerId, WorkerRecord] = {}
        self._logs: dict[WorkerId, MemoryLog] = {}
        self._views: dict[WorkerId, bytes] = {}
        self._runtime_log = MemoryLog(None, self._ground, retention, lambda _records, _events: None)

    @property
    def runtime_log(self) -> Log:
        """The log of the runtime's own events."""
        return self._runtime_log

    @property
    def issued_through(self) -> Seq:
        """See `Store.issued_through`."""
        return self._numbering.last

    @property
    def visible_through(self) -> Seq:
        """See `Store.visible_through`."""
        return self._numbering.last

    def watch(self, onlooker: Onlooker | None) -> None:
        """See `Store.watch`."""
        self._ground.onlooker = onlooker

    async def create(
        self, record: WorkerRecord, on_visible: OnVisible, *, beside: Mapping[str, bytes] = NO_FILES
    ) -> Log:
        """See `Store.create`."""
        if record.worker_id in self._records:
            raise WorkerExists(record.worker_id)
        directory = self.directory(record.worker_id)
        try:
            directory.mkdir(mode=0o700, parents=True)
            for name, content in beside.items():
                (directory / name).touch(mode=0o600)
                (directory / name).write_bytes(content)
        except OSError as fault:
            raise StoreIo("create", str(directory), fault.strerror or str(fault)) from fault
        log = MemoryLog(record.worker_id, self._ground, self.retention, on_visible)
        self._records[record.worker_id] = record
        self._logs[record.worker_id] = log
        return log

    async def receive(
        self,
        record: WorkerRecord,
        records: Iterable[Record],
        *,
        trimmed_through: Seq,
        view: bytes | None,
        files: Path,
    ) -> None:
        """See `Store.receive`."""
        log = MemoryLog(record.worker_id, self._ground, self.retention, lambda _records, _events: None)
        directory = self.directory(record.worker_id)
        try:
            await asyncio.to_thread(log.fill, records, trimmed_through)
            if record.worker_id in self._records:
                raise WorkerExists(record.worker_id)
            _move(files, directory)
        except OSError as fault:
            raise StoreIo("receive", str(directory), fault.strerror or str(fault)) from fault
        self._numbering.pass_by(log.head)
        self._records[record.worker_id] = record
        self._logs[record.worker_id] = log
        if view is not None:
            self._views[record.worker_id] = view

    async def save(self, record: WorkerRecord, *, durable: bool = True) -> None:  # noqa: ARG002 - nothing is.
        """See `Store.save`."""
        self._records[record.worker_id] = record

    async def load(self) -> Sequence[WorkerRecord]:
        """See `Store.load`."""
        return sorted(self._records.values(), key=lambda record: record.created_us)

    async def open(self, worker_id: WorkerId, on_visible: OnVisible) -> Log:
        """See `Store.open`."""
        try:
            log = self._logs[worker_id]
        except KeyError:
            raise WorkerNotFound(worker_id) from None
        log.on_visible = on_visible
        return log

    async def save_view(self, worker_id: WorkerId, state: bytes) -> None:
        """See `Store.save_view`."""
        self._views[worker_id] = state

    async def load_view(self, worker_id: WorkerId) -> bytes | None:
        """See `Store.load_view`."""
        return self._views.get(worker_id)

    async def delete(self, worker_id: WorkerId) -> None:
        """See `Store.delete`."""
        self._records.pop(worker_id, None)
        self._views.pop(worker_id, None)
        log = self._logs.pop(worker_id, None)
        if log is not None:
            log.close(removed=True)
            await asyncio.to_thread(shutil.rmtree, self._set_aside(worker_id), ignore_errors=True)

    def directory(self, worker_id: WorkerId) -> Path:
        """See `Store.directory`."""
        return self.path / WORKERS / worker_id

    def _set_aside(self, worker_id: WorkerId) -> Path:
        """A worker's folder under another name: its id may be used again before its files are gone."""
        aside = Path(tempfile.mkdtemp(prefix="removed-", dir=self.path))
        with suppress(OSError):  # Somebody removed it already.
            self.directory(worker_id).rename(aside)
        return aside

    async def check(self) -> None:
        """See `Store.check`."""
        probe = self.path / "probe"
        try:
            probe.write_bytes(b"ready")
            probe.unlink()
        except OSError as fault:
            raise StoreIo("write", str(probe), fault.strerror or str(fault)) from fault

    async def close(self) -> None:
        """See `Store.close`."""
        for log in (*self._logs.values(), self._runtime_log):
            log.close(removed=False)


def _move(files: Path, directory: Path) -> None:
    directory.parent.mkdir(mode=0o700, exist_ok=True)
    files.rename(directory)


@asynccontextmanager
async def open_memory_store(
    retention: Retention | None = None, clock_us: ClockUs = system_clock_us
) -> AsyncIterator[MemoryStore]:
    """A memory store; after the block its logs are closed and its files are gone."""
    with scratch_directory() as root:
        workers = root / WORKERS
        workers.mkdir(mode=0o700)
        spread_folders_in(str(workers))
        store = MemoryStore(root, retention or Retention(), clock_us)
        try:
            yield store
        finally:
            await store.close()
