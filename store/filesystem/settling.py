"""Brings what is visible to its own place.

In this order: what is pending goes to the segments; segments, records and the
names of both go to the disk; then the write-ahead files that held them go.

Every second that is done for logs whose segments hold what is safe nowhere
else; for all of them, and for records, when the write-ahead file is large, when
somebody asks for it, and at the end. Until then that file has them, on the disk.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreFault, StoreMissing
from watchglass.protocol.identity import WorkerId

from .ceiling import FileCeiling
from .files import fault_of
from .ground import Ground
from .layout import Layout
from .log import FileLog
from .records import RECORD_FILE
from .sync import SyncThread
from .unsynced import LogSync

_LOG = logging.getLogger(__name__)
_FLUSHED_AT_ONCE = 64
"""Logs between two chances for everybody else on the loop."""


class Settling:
    """The task that keeps a store's files behind its logs, but never far."""

    def __init__(
        self, ground: Ground, layout: Layout, ceiling: FileCeiling, thread: SyncThread, every_s: float
    ) -> None:
        self._ground = ground
        self._files = ground.files
        self._layout = layout
        self._ceiling = ceiling
        self._thread = thread
        self._every_s = every_s
        self._one_at_a_time = asyncio.Lock()
        self._changed: set[WorkerId] = set()
        self._names_changed = False
        self._resting: set[FileLog] = set()
        self._doomed: list[str] = []
        self._is_behind = False
        self._task = asyncio.create_task(self._repeat(), name="watchglass-settling")

    def record_changed(self, worker_id: WorkerId) -> None:
        """A worker's record was written, and is not on the disk yet."""
        self._changed.add(worker_id)

    def worker_removed(self, aside: str) -> None:
        """A worker's folder was moved aside; it goes when that is safe to do."""
        self._names_changed = True
        self._doomed.append(aside)

    async def settle(self) -> None:
        """Bring everything into its place now. Raises StoreIo; what failed is tried again."""
        async with self._one_at_a_time:
            faults = await self._settle(everything=True)
        if faults:
            raise faults[0]

    async def finish(self) -> None:
        """Settle for the last time. Raises StoreIo; then the next start settles the rest."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        async with self._one_at_a_time:
            faults = await self._settle(everything=True, last=True)
            if self._ground.wal is not None:
                self._ground.wal.close()
            try:
                self._ceiling.settle(self._ground.numbering.last)
            except OSError as fault:
                faults = [*faults, fault_of("write", self._layout.ceiling, fault)]
        if faults:
            raise faults[0]

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            async with self._one_at_a_time:
                wal = self._ground.wal
                faults = await self._settle(everything=wal is None or wal.is_large)
            self._tell(faults)

    def _tell(self, faults: Sequence[StoreFault]) -> None:
        """Log a change alone: a disk is full for hours, and the log may be on it."""
        if faults and not self._is_behind:
            _LOG.warning("the store is behind, and tries again every %g s: %s", self._every_s, faults[0])
        elif self._is_behind and not faults:
            _LOG.warning("the store has caught up: everything is in its place again")
        self._is_behind = bool(faults)

    async def _settle(self, *, everything: bool, last: bool = False) -> Sequence[StoreFault]:
        wal = self._ground.wal
        complete = -1
        faults: list[StoreFault] = []
        if wal is not None and everything:
            faults += await wal.quiet()
            complete = wal.rotate()
        elif wal is not None:
            wal.hurry()
        dirty = [log for log in self._ground.dirty if everything or log.loose]
        faults += await self._flush(dirty)
        if wal is not None:
            faults += await self._sync(dirty, with_records=everything)
            if not faults:
                faults += _tried("remove", self._layout.journal, lambda: wal.forget(complete))
        else:
            for log in dirty:
                log.end_sync(log.begin_sync(), None)
        faults += self._remove_leftovers()
        if everything and not faults:  # Nothing that could bring these back is left.
            await self._remove_doomed()
        if not last:
            faults += await self._renew_ceiling()
        self._rest(dirty)
        return faults

    async def _flush(self, dirty: Sequence[FileLog]) -> list[StoreFault]:
        faults: list[StoreFault] = []
        for place, log in enumerate(dirty):
            self._ground.dirty.pop(log, None)
            try:
                log.flush()
            except StoreMissing as fault:
                _LOG.warning("the events of worker %r are gone: %s", log.worker_id, fault)
            except StoreFault as fault:
                self._ground.dirty[log] = None
                faults.append(fault)
            if place % _FLUSHED_AT_ONCE == _FLUSHED_AT_ONCE - 1:
                await asyncio.sleep(0)
        return faults

    async def _sync(self, dirty: Sequence[FileLog], *, with_records: bool) -> list[StoreFault]:
        """Bring segments, records and names to the disk, in the thread."""
        syncs = [log.begin_sync() for log in dirty]
        changed: set[WorkerId] = set()
        names_changed = False
        if with_records:
            changed, self._changed = self._changed, set()
            names_changed, self._names_changed = self._names_changed, False
        if not (syncs or changed or names_changed):
            return []
        outcomes: list[tuple[LogSync, OSError | None]] = []
        refused: list[OSError] = []

        def job() -> None:
            sync_directory = functools.cache(self._files.sync_directory)  # All names are older than this.
            for sync in syncs:
                fault = _refusal(lambda: sync.run(self._files, sync_directory))  # noqa: B023 - called at once.
                outcomes.append((sync, fault))
            fault = _refusal(lambda: self._sync_records(changed, sync_directory, names_changed=names_changed))
            if fault is not None:
                refused.append(fault)

        await self._thread.run(job)
        refusals = [sync.log.end_sync(sync, fault) for sync, fault in outcomes]
        if refused:
            self._changed |= changed
            self._names_changed = self._names_changed or names_changed
        path = str(self._layout.path)
        return [fault_of("sync", path, f) for f in (*refusals, *refused) if f is not None]

    def _sync_records(
        self, changed: set[WorkerId], sync_directory: Callable[[str], None], *, names_changed: bool
    ) -> None:
        """In the thread: raises OSError."""
        for worker_id in changed:
            directory = self._layout.worker(worker_id)
            with suppress(FileNotFoundError):  # It was deleted meanwhile.
                self._files.sync_file(f"{directory}/{RECORD_FILE}")
                sync_directory(directory)
        if changed or names_changed:
            sync_directory(self._layout.workers)
        if names_changed:
            sync_directory(self._layout.removed)

    async def _renew_ceiling(self) -> list[StoreFault]:
        numbering = self._ground.numbering
        newest = Seq(max(numbering.last, numbering.clock_us()))
        if not self._ceiling.is_near(newest):
            return []
        try:
            await self._thread.run(lambda: self._ceiling.renew(newest))
        except OSError as fault:
            return [fault_of("write", self._layout.ceiling, fault)]
        self._ceiling.take_renewed()
        return []

    def _remove_leftovers(self) -> list[StoreFault]:
        """Try again what retention could not remove."""
        leftover, self._ground.leftover = self._ground.leftover, []
        faults: list[StoreFault] = []
        for path in leftover:
            fault = _refusal(lambda: self._files.unlink(path))  # noqa: B023 - called at once.
            if fault is not None and not isinstance(fault, FileNotFoundError):
                self._ground.leftover.append(path)
                faults.append(fault_of("remove", path, fault))
        return faults

    async def _remove_doomed(self) -> None:
        doomed, self._doomed = self._doomed, []
        for aside in doomed:
            await asyncio.to_thread(self._files.rmtree, aside, ignore_errors=True)

    def _rest(self, dirty: Sequence[FileLog]) -> None:
        """Close the files of logs that wrote nothing since the last time."""
        for log in self._resting.difference(dirty):
            log.rest()
        self._resting = set(dirty)


def _refusal(act: Callable[[], object]) -> OSError | None:
    """Do it; what the system refused, or None."""
    try:
        act()
    except OSError as fault:
        return fault
    return None


def _tried(operation: str, path: str, act: Callable[[], object]) -> list[StoreFault]:
    fault = _refusal(act)
    return [] if fault is None else [fault_of(operation, path, fault)]
