"""Opens the store of a runtime: takes it for this process alone, recovers it, and closes it in the end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreFault
from watchglass.protocol.identity import RANDOM_BITS, RuntimeId, generated_id
from watchglass.store.base import Finding, Retention, StoreUnusable
from watchglass.store.garbage import not_searched
from watchglass.store.incoming import remove_incoming
from watchglass.store.numbering import ClockUs, Numbering, system_clock_us

from .ceiling import AHEAD_US, FileCeiling, kept_ceiling
from .files import Files
from .ground import Ground
from .layout import Layout, only_runtime, prepare
from .loading import Salvage
from .recovery import Recovered, Recovery
from .settling import Settling
from .store import FilesystemStore
from .sync import SyncThread
from .wal import WriteAhead

Durability = Literal["os", "fsync"]
SETTLE_S = 1.0


@asynccontextmanager
async def open_filesystem_store(
    root: Path,
    runtime_id: RuntimeId | None = None,
    *,
    retention: Retention | None = None,
    durability: Durability = "fsync",
    clock_us: ClockUs = system_clock_us,
    files: Files | None = None,
    settle_s: float = SETTLE_S,
) -> AsyncIterator[FilesystemStore]:
    """A runtime's store under a root directory; after the block it is closed, and others may open it.

    Without an id it is the only runtime of the root, or a new one. `settle_s`
    is how far behind what was not asked to be durable may be.

    Raises:
        StoreUnusable: It is in use, of a newer schema, or cannot be read or made;
            or the root keeps several runtimes.
    """
    files = files or Files()
    runtime_id = runtime_id or only_runtime(root) or _new_id(clock_us)
    layout = Layout(root / "runtimes" / runtime_id)
    lock = prepare(layout, runtime_id, clock_us(), files)
    rounds, background = SyncThread("watchglass-rounds"), SyncThread("watchglass-settling")
    try:
        findings: list[Finding] = []
        salvage = Salvage(files, str(layout.path), layout.salvaged(clock_us()), findings.append)
        ceiling = FileCeiling(layout.ceiling, files, clock_us)
        ground = Ground(
            files, Numbering(clock_us, ceiling=ceiling), retention or Retention(), salvage, layout.workers
        )
        recovered = await asyncio.to_thread(_recover, ground, layout, ceiling)
        if durability == "fsync":
            ground.wal = WriteAhead(files, layout.journal, recovered.next_wal, rounds)
        settling = Settling(ground, layout, ceiling, background, settle_s)
        store = FilesystemStore(layout, runtime_id, ground, recovered, settling, findings)
        try:
            yield store
        finally:
            await store.close()
    finally:
        rounds.close()
        background.close()
        lock.release()


def _new_id(clock_us: ClockUs) -> RuntimeId:
    return generated_id("rt", clock_us(), secrets.randbits(RANDOM_BITS))


def _recover(ground: Ground, layout: Layout, ceiling: FileCeiling) -> Recovered:
    """The content of a store, ready to be gone on with. Raises StoreUnusable."""
    numbering = ground.numbering
    try:
        remove_incoming(layout.path)
        below = kept_ceiling(layout.ceiling, ground.files)
        with not_searched():
            recovered = Recovery(ground, layout).run()
        newest = recovered.head
        if below is not None:
            newest = Seq(max(newest, below - 1))
        elif newest:
            # Nobody knows what was issued behind the newest that is left; it was less than this.
            newest = Seq(max(newest, numbering.clock_us()) + AHEAD_US)
            message = f"{layout.ceiling}: cannot be read; cursors run {AHEAD_US // 1_000_000} s ahead"
            ground.salvage.tell(Finding("warning", "ceiling_lost", message))
        numbering.last = newest
        ceiling.lift(Seq(max(newest, numbering.clock_us())))
    except StoreFault as fault:
        raise StoreUnusable(f"cannot open {layout.path}: {fault}") from fault
    return recovered
