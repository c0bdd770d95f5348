"""Every store that there is. A store that joins here joins the promises of `store/base.py`."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.events import Event
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.base import Log, Record, Retention, Store
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store
from watchglass.store.filesystem.open_store import Durability
from watchglass.store.memory import open_memory_store
from watchglass.store.numbering import ClockUs
from watchglass.store.worker_record import WorkerRecord

OpenStore = Callable[[Retention, ClockUs], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def open_fresh_filesystem_store(
    retention: Retention, clock_us: ClockUs, *, durability: Durability = "fsync"
) -> AsyncIterator[FilesystemStore]:
    """A filesystem store in a directory of its own, gone with the block."""
    with tempfile.TemporaryDirectory() as root:
        async with open_filesystem_store(
            Path(root), retention=retention, durability=durability, clock_us=clock_us
        ) as store:
            yield store


OPENERS: dict[str, OpenStore] = {
    "memory": open_memory_store,
    "fs": open_fresh_filesystem_store,
    "fs-os": partial(open_fresh_filesystem_store, durability="os"),
}


def record_of(worker_id: WorkerId, created_us: int = 1) -> WorkerRecord:
    """A new passive worker, as the catalog keeps it."""
    return WorkerRecord(worker_id=worker_id, created_us=created_us, request=CreateWorkerRequest(), plan=None)


def nobody(_records: Sequence[Record], _events: Sequence[Event]) -> None:
    """Nobody looks at what becomes visible."""


def said(*texts: str) -> list[Event]:
    """One `text_delta` for each text."""
    return [Event("text_delta", {"text": text}) for text in texts]


async def read_all(log: Log, *, after: int = BEGINNING) -> list[Record]:
    """Every kept record after a position, by as many reads as it takes."""
    taken: list[Record] = []
    while records := await log.read(after=taken[-1].seq if taken else Seq(after)):
        assert not taken or records[0].seq > taken[-1].seq
        taken += records
    return taken
