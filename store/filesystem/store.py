"""Logs and records of one runtime, in files.

What is visible was written, so it survives a kill of the process. At level
`fsync`, what was asked for as durable was brought to the disk before its caller
returned (in the write-ahead file, together with all others of that moment), and
everything else is at most a second behind. At level `os` nothing waits for the
disk, and a loss of power may take the last half minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreIo, WorkerExists, WorkerNotFound
from watchglass.protocol.identity import RuntimeId, WorkerId
from watchglass.store.base import (
    NO_FILES,
    Finding,
    Log,
    Onlooker,
    OnVisible,
    Record,
)
from watchglass.store.worker_record import WorkerRecord

from .files import fault_of
from .ground import Ground
from .layout import Layout
from .loading import LogState
from .log import FileLog
from .receiving import Receiving
from .records import (
    RECORD_FILE,
    Kept,
    complete_log,
    note_of,
    read_view,
    sealed_record,
    write_record,
    write_view,
)
from .recovery import Recovered
from .settling import Settling
from .wal import delete_note


class FilesystemStore:
    """See `Store`. Made by `open_filesystem_store`."""

    backend: Literal["memory", "fs_store"] = "fs_store"

    def __init__(
        self,
        layout: Layout,
        runtime_id: RuntimeId,
        ground: Ground,
        recovered: Recovered,
        settling: Settling,
        findings: Sequence[Finding],
    ) -> None:
        self._layout = layout
        self._ground = ground
        self._files = ground.files
        self._kept = recovered.workers
        self._logs = recovered.logs
        self._runtime_log = recovered.runtime_log
        self._settling = settling
        self._closed = False
        self.runtime_id = runtime_id
        self.retention = ground.retention
        self.durability: Literal["none", "os", "fsync"] = "os" if ground.wal is None else "fsync"
        self.findings = findings

    @property
    def path(self) -> Path:
        """The runtime's directory."""
        return self._layout.path

    @property
    def runtime_log(self) -> Log:
        """The log of the runtime's own events."""
        return self._runtime_log

    @property
    def issued_through(self) -> Seq:
        """See `Store.issued_through`."""
        return self._ground.numbering.last

    @property
    def visible_through(self) -> Seq:
        """See `Store.visible_through`."""
        wal = self._ground.wal
        first = None if wal is None else wal.first_unseen
        return self._ground.numbering.last if first is None else Seq(first - 1)

    def watch(self, onlooker: Onlooker | None) -> None:
        """See `Store.watch`."""
        self._ground.onlooker = onlooker

    # Records.

    async def create(
        self, record: WorkerRecord, on_visible: OnVisible, *, beside: Mapping[str, bytes] = NO_FILES
    ) -> Log:
        """See `Store.create`."""
        worker_id = record.worker_id
        if worker_id in self._kept:
            raise WorkerExists(worker_id)
        self._refuse_when_closed("create", worker_id)
        born = self._ground.numbering.reserve()
        kept = Kept(record, born, born)
        encoded = kept.encoded()
        self._make_worker(worker_id, {RECORD_FILE: sealed_record(encoded), **beside})
        if self._ground.wal is not None:
            self._ground.wal.note(note_of("create", encoded))
            self._settling.record_changed(worker_id)
        log = FileLog(self._ground, worker_id, self._layout.events(worker_id), LogState(), on_visible)
        log.owe_names_in(self._layout.workers, self._layout.worker(worker_id))
        self._kept[worker_id] = kept
        self._logs[worker_id] = log
        return log

    def _make_worker(self, worker_id: WorkerId, content: Mapping[str, bytes]) -> None:
        """Make a worker's folder with all that belongs in it, in one step. Raises StoreIo."""
        files = self._files
        unborn, directory = self._layout.unborn(worker_id), self._layout.worker(worker_id)
        try:
            if not files.make_directory(unborn):
                files.rmtree(unborn)
                files.make_directory(unborn)
            files.make_directory(f"{unborn}/events")
            for name, data in content.items():
                files.write_new(f"{unborn}/{name}", data)
            files.rename(unborn, directory)
        except OSError as fault:
            files.rmtree(unborn, ignore_errors=True)
            raise StoreIo("create", directory, fault.strerror or str(fault)) from fault

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
        worker_id = record.worker_id
        directory = self._layout.worker(worker_id)
        self._refuse_when_closed("receive", worker_id)
        born = self._ground.numbering.reserve()
        receiving = Receiving(
            files=self._files,
            numbering=self._ground.numbering,
            retention=self._ground.retention,
            salvage=self._ground.salvage,
            kept=Kept(record, born, born),
            trimmed_through=trimmed_through,
            view=view,
            is_synced=self._ground.wal is not None,
        )
        try:
            kept, facts = await asyncio.to_thread(receiving.make, str(files), records)
            if worker_id in self._kept:
                raise WorkerExists(worker_id)
            self._refuse_when_closed("receive", worker_id)
            self._ground.numbering.pass_by(facts.head)
            self._files.rename(str(files), directory)
            await self._sync_arrival(str(files), directory)
        except OSError as fault:
            raise StoreIo("receive", directory, fault.strerror or str(fault)) from fault
        log = FileLog(self._ground, worker_id, self._layout.events(worker_id), facts)
        self._kept[worker_id] = kept
        self._logs[worker_id] = log

    async def _sync_arrival(self, files: str, directory: str) -> None:
        """Bring a new name to the disk, or take it back. Raises OSError."""
        if self._ground.wal is None:
            return
        try:
            await asyncio.to_thread(self._files.sync_directory, self._layout.workers)
        except OSError:
            self._files.rename(directory, files)
            raise

    async def save(self, record: WorkerRecord, *, durable: bool = True) -> None:
        """See `Store.save`."""
        worker_id = record.worker_id
        self._refuse_when_closed("save", worker_id)
        old = self._kept.get(worker_id)
        if old is None:
            raise WorkerNotFound(worker_id)
        log = self._logs[worker_id]
        complete = None
        if record.end is not None:
            log.flush()
            complete = complete_log(log)
        kept = Kept(record, old.born, self._ground.numbering.reserve(), complete)
        encoded = kept.encoded()
        directory = self._layout.worker(worker_id)
        try:
            write_record(self._files, directory, encoded)
        except OSError as fault:
            raise fault_of("save", f"{directory}/worker.json", fault) from fault
        self._kept[worker_id] = kept
        if complete is not None:
            log.forget_tail()
        wal = self._ground.wal
        if wal is not None:
            self._settling.record_changed(worker_id)
            note = note_of("save", encoded)
            if durable:
                await wal.ask(note)
            else:
                wal.note(note)

    async def load(self) -> Sequence[WorkerRecord]:
        """See `Store.load`."""
        records = [kept.record for kept in sorted(self._kept.values(), key=lambda kept: kept.born)]
        return sorted(records, key=lambda record: record.created_us)

    async def open(self, worker_id: WorkerId, on_visible: OnVisible) -> Log:
        """See `Store.open`."""
        try:
            log = self._logs[worker_id]
        except KeyError:
            raise WorkerNotFound(worker_id) from None
        log.on_visible = on_visible
        return log

    async def delete(self, worker_id: WorkerId) -> None:
        """See `Store.delete`.

        Raises:
            StoreIo: The folder cannot be moved away: the worker is still there. Or
                it is gone, and a loss of power may bring it back.
        """
        log = self._logs.get(worker_id)
        if log is None:
            return
        self._refuse_when_closed("delete", worker_id)
        gone = self._ground.numbering.reserve()
        aside = f"{self._layout.removed}/{worker_id}+{gone:016x}"
        try:
            self._files.rename(self._layout.worker(worker_id), aside)
        except FileNotFoundError:
            pass  # Somebody removed it already.
        except OSError as fault:
            raise fault_of("delete", self._layout.worker(worker_id), fault) from fault
        self._settling.worker_removed(aside)
        del self._logs[worker_id], self._kept[worker_id]
        log.close(removed=True)
        log.rest(finally_=True)
        self._ground.dirty.pop(log, None)
        if self._ground.wal is not None:
            await self._ground.wal.ask(delete_note(worker_id, gone))
        await asyncio.to_thread(self._files.rmtree, aside, ignore_errors=True)

    # Views, folders.

    async def save_view(self, worker_id: WorkerId, state: bytes) -> None:
        """See `Store.save_view`. Raises StoreIo, StoreMissing."""
        directory = self._layout.worker(worker_id)
        try:
            write_view(self._files, directory, state)
        except OSError as fault:
            raise fault_of("write", f"{directory}/view.json", fault) from fault

    async def load_view(self, worker_id: WorkerId) -> bytes | None:
        """See `Store.load_view`. Raises StoreIo."""
        directory = self._layout.worker(worker_id)
        try:
            return read_view(self._files, directory)
        except OSError as fault:
            raise fault_of("read", f"{directory}/view.json", fault) from fault

    def directory(self, worker_id: WorkerId) -> Path:
        """See `Store.directory`."""
        return Path(self._layout.worker(worker_id))

    async def check(self) -> None:
        """See `Store.check`. No change is taken without the runtime's own log."""
        self._runtime_log.check()
        probe = f"{self._layout.path}/+probe"
        try:
            self._files.replace(probe, b"ready")
            self._files.unlink(probe)
        except OSError as fault:
            raise StoreIo("write", probe, fault.strerror or str(fault)) from fault

    # The end.

    async def settle(self) -> None:
        """Bring everything that is visible to its own place and, at level `fsync`, to the disk.

        Raises:
            StoreIo: Something could not be; it is tried again every second.
        """
        await self._settling.settle()

    async def close(self) -> None:
        """See `Store.close`. Raises StoreIo when the last events could not be brought to the disk."""
        if self._closed:
            return
        self._closed = True
        logs = (*self._logs.values(), self._runtime_log)
        try:
            await self._settling.finish()
        finally:
            for log in logs:
                log.close(removed=False)
                log.rest(finally_=True)

    def _refuse_when_closed(self, operation: str, worker_id: WorkerId) -> None:
        if self._closed:
            raise StoreIo(operation, self._layout.worker(worker_id), "the store was closed")
