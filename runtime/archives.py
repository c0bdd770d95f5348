"""Workers that leave as an archive, and come back from one.

    export    an ended worker ─▶ bytes, while they are taken
    import    bytes ─▶ a folder that nobody looks at ─▶ all of it is there and checked
              ─▶ one step of the store ─▶ the catalog

An archive that is refused, a caller that leaves and a kill keep nothing. The
folder `archive/` has the format.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from watchglass import __version__
from watchglass.protocol.errors import StoreFault, StoreIo
from watchglass.protocol.identity import RuntimeId
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.runtime import RuntimeEventKind
from watchglass.protocol.workers import LeftOut, WorkerDetail
from watchglass.store.base import Store
from watchglass.store.incoming import make_incoming, remove_tree
from watchglass.store.numbering import rfc3339, system_clock_us
from watchglass.store.worker_record import WorkerRecord

from .announcements import Announcements
from .archive.intake import Arrived, Intake
from .archive.members import FormatNote
from .archive.outgoing import Outgoing
from .archive.threads import in_thread, over
from .catalog import Catalog, Entry
from .changes import Changes
from .restoring import Restoration
from .worker import Worker

IMPORTS_AT_ONCE: Final = 4
"""More of them wait, and their senders with them."""
PIECE_BYTES: Final = 256 << 10


class Imported(NamedTuple):
    """The worker as it is now; what of its workspace is not there, the first of it and how much in all."""

    worker: WorkerDetail
    left_out: list[LeftOut]
    left_out_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """Exports and imports of one runtime."""

    runtime_id: RuntimeId
    store: Store
    catalog: Catalog
    restoration: Restoration
    announcements: Announcements
    changes: Changes
    check_running: Callable[[], None]
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IMPORTS_AT_ONCE))

    async def export(self, entry: Entry) -> AsyncGenerator[bytes, None]:
        """See `Runtime.export_worker`."""
        worker = entry.worker
        await worker.wait_ended()
        view = await self._view(worker)
        note = FormatNote(
            runtime_id=self.runtime_id,
            worker_id=worker.worker_id,
            exported_at=rfc3339(system_clock_us()),
            version=__version__,
            trimmed_through=worker.log.trimmed_through,
        )
        return Outgoing(
            note=note,
            record=_as_exported(worker),
            log=worker.log,
            view=view,
            directory=self.store.directory(worker.worker_id),
        ).pieces()

    async def take(self, pieces: AsyncIterator[bytes]) -> Imported:
        """See `Runtime.import_worker`."""
        self.check_running()
        async with self._turns:
            folder = await self._incoming()
            try:
                return await self._take_into(folder, pieces)
            finally:
                await in_thread(remove_tree, folder)

    async def _view(self, worker: Worker) -> bytes:
        """What its transcript was, also before retention. Raises StoreIo, StoreMissing, StoreCorrupt."""
        await worker.view.wake(worker.log)
        state = worker.view.state()
        with suppress(StoreFault):  # Whoever asks for it has to save it.
            await self.store.save_view(worker.worker_id, state)
        return state

    async def _incoming(self) -> Path:
        try:
            return await in_thread(make_incoming, self.store.path)
        except OSError as fault:
            raise StoreIo("import", str(self.store.path), fault.strerror or str(fault)) from fault

    async def _take_into(self, folder: Path, pieces: AsyncIterator[bytes]) -> Imported:
        try:
            intake = Intake(folder, system_clock_us())
        except OSError as fault:
            raise StoreIo("import", str(folder), fault.strerror or str(fault)) from fault
        held = None
        try:
            async for piece in _gathered(pieces):
                await in_thread(intake.feed, piece)
                if held is None and intake.note is not None:
                    self.catalog.hold(intake.note.worker_id)  # Refused now, not when all of it has come.
                    held = intake.note.worker_id
            arrived = intake.finish()
            entry = await over(self.changes.start(self._keep(arrived)))
        finally:
            if held is not None:
                self.catalog.let_go(held)
            intake.close()
        return Imported(entry.worker.detail(), arrived.omissions.first, arrived.omissions.count)

    async def _keep(self, arrived: Arrived) -> Entry:
        """From here on it is finished, whoever waits for it.

        Somebody wants to keep it, so a task comes as a worker, which no collector takes away.
        """
        self.check_running()
        record = _without_secrets(arrived.record).model_copy(update={"task": None, "imported": True})
        await self.store.receive(
            record,
            arrived.records(),
            trimmed_through=arrived.trimmed_through,
            view=arrived.view,
            files=arrived.files,
        )
        entry = await self.restoration.known(record)
        self.announcements.diagnose_creation(entry.worker)
        await self._tell(entry.worker)
        return entry

    async def _tell(self, worker: Worker) -> None:
        """Whoever counts workers by the runtime's events sees one come, and that it does not run."""
        cancelled = worker.life.phase is Phase.CANCELLED
        ended = RuntimeEventKind.WORKER_CANCELLED if cancelled else RuntimeEventKind.WORKER_STOPPED
        name = worker.worker_id
        await self.announcements.tell(RuntimeEventKind.WORKER_CREATED, f"worker {name} imported", worker.ref)
        await self.announcements.tell(ended, f"worker {name} {worker.life.phase}", worker.ref)


def _as_exported(worker: Worker) -> WorkerRecord:
    """What its record says of it, with the end that may not be in it yet."""
    end = worker.life.end(worker.view.transcript_len)
    return _without_secrets(worker.record.model_copy(update={"end": end, "imported": False}))


def _without_secrets(record: WorkerRecord) -> WorkerRecord:
    """Neither the values of its environment nor the key of whoever created it, who asked another runtime."""
    return record.model_copy(
        update={"request": record.request.redacted(), "idempotency_key": None, "request_digest": None}
    )


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a thread."""
    held: list[bytes] = []
    size_bytes = 0
    async for piece in pieces:
        held.append(piece)
        size_bytes += len(piece)
        if size_bytes >= PIECE_BYTES:
            yield b"".join(held)
            held.clear()
            size_bytes = 0
    yield b"".join(held)
