"""What every store promises.

A store keeps one append-only log for each worker, one for the runtime itself,
and the catalog's records.

    a worker's log     (trimmed)  [ oldest … … … head ]   next append: > head
                             ^ trimmed_through

Promised by every store and checked in `tests/store/test_store_promises.py`:

* Sequences are runtime-wide, strictly growing, never issued twice.
* `append` writes all or none. When it returns, its records are visible; an
  event is visible to everybody at once, and `on_visible` is called in that
  same step, before anybody else runs. What is visible survives a kill of the
  process on every store that keeps data.
* A reader gets every kept record after its position, in order, once. Behind
  retention it gets `CursorExpired`, never a silent clamp.
* A record's line never changes: it is the envelope that observers receive.
* Logs do not share room: a chatty worker expires nobody else's events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from watchglass.protocol.cursor import Seq
from watchglass.protocol.events import Event
from watchglass.protocol.execution import ExecutionPlan
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.lifecycle import Wanted
from watchglass.protocol.workers import CreateWorkerRequest

READ_RECORDS_MAX = 512
READ_BYTES_MAX = 256 << 10


class Record(NamedTuple):
    """One event, numbered and encoded: `line` is its envelope without a newline."""

    seq: Seq
    line: bytes


class LogClosed(Exception):
    """Nobody will append to this log again, and its reader has everything.

    `removed` tells whether the worker is gone or the runtime is closing.
    """

    def __init__(self, *, removed: bool) -> None:
        super().__init__("the log was removed" if removed else "the store was closed")
        self.removed = removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much of each worker's log is kept; the newest event always is."""

    max_bytes: int = 32 << 20
    max_events: int = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """What the catalog keeps of a worker; its status is a view of its log."""

    worker_id: WorkerId
    created_us: int
    request: CreateWorkerRequest
    plan: ExecutionPlan | None
    wanted: Wanted = Wanted.UP


OnVisible = Callable[[Sequence[Record], Sequence[Event]], None]


class Log(Protocol):
    """One worker's events (or the runtime's own), numbered and kept."""

    @property
    def head(self) -> Seq:
        """Sequence of the newest event; 0 before the first."""

    @property
    def oldest(self) -> Seq:
        """Sequence of the oldest kept event; 0 when there is none."""

    @property
    def trimmed_through(self) -> Seq:
        """Sequence of the newest event that retention dropped; 0 when it dropped none."""

    async def append(self, events: Sequence[Event], *, durable: bool = False) -> Sequence[Record]:
        """Number, encode and write all events, or none.

        `durable` asks for the store's strongest level before the return.

        Raises:
            InvalidRequest: An event holds what JSON cannot say.
            StoreIo: The write failed; nothing of it is visible.
        """

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Sequence[Record]:
        """The kept records after a position, as many as fit (at least one), or none.

        Raises:
            CursorExpired: Retention dropped something after this position.
        """

    async def holds(self, seq: Seq) -> bool:
        """Whether a kept event has exactly this sequence."""

    async def wait(self, *, after: Seq) -> None:
        """Return when there is an event after this position.

        Raises:
            LogClosed: There is none, and there never will be.
        """


class Store(Protocol):
    """Logs and catalog records of one runtime."""

    @property
    def backend(self) -> Literal["memory", "fs_store"]:
        """The contract's word for this store."""

    @property
    def durability(self) -> Literal["none", "os", "fsync"]:
        """What survives: nothing, a kill of the process, or a loss of power."""

    @property
    def runtime_log(self) -> Log:
        """The log of the runtime's own events."""

    async def create(self, record: WorkerRecord, on_visible: OnVisible) -> Log:
        """Keep a new worker's record and open its log and its directory.

        Raises:
            WorkerExists: The id is taken.
            StoreIo: It could not be written; nothing is kept.
        """

    async def save(self, record: WorkerRecord) -> None:
        """Keep a newer version of a record. Raises StoreIo."""

    async def load(self) -> Sequence[WorkerRecord]:
        """Every kept record, in order of creation."""

    async def delete(self, worker_id: WorkerId) -> None:
        """Forget a worker: its record, its log (readers get `LogClosed`), its files."""

    def directory(self, worker_id: WorkerId) -> Path:
        """The folder that is this worker's own, mode 0700."""

    async def check(self) -> None:
        """Prove that the store takes writes, by writing. Raises StoreIo."""

    async def close(self) -> None:
        """End every log: readers that have everything get `LogClosed`."""
