"""What every store promises.

A store keeps one append-only log for each worker, one for the runtime itself,
and the catalog's records.

    a worker's log     (trimmed)  [ oldest … … … head ]   next append: > head
                             ^ trimmed_through

Promised by every store and checked in `tests/store/test_store_promises.py`:

* Sequences are runtime-wide, strictly growing, never issued twice.
* `append` writes all or none, also when the process is killed meanwhile. When
  it returns, its records are visible; an event is visible to everybody at once,
  and `on_visible` is called in that same step, before anybody else runs. What
  is visible survives a kill of the process on every store that keeps data.
* The newest `offsets` that came with an append are kept with it, or neither is.
* A reader gets every kept record after its position, in order, once. Behind
  retention it gets `CursorExpired`, never a silent clamp.
* A record's line never changes: it is the envelope that observers receive.
* Logs do not share room: a chatty worker expires nobody else's events.
* An event may become visible after a later one of another log. Whoever reads several
  logs as one goes no further than `visible_through`: nothing at or below it is to come.
* A worker that comes from elsewhere (`receive`) is there whole or not at all, also
  over a kill; its events keep their sequences, and those issued later are higher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

from watchglass.protocol.cursor import Seq
from watchglass.protocol.events import Event
from watchglass.protocol.identity import RuntimeId, WorkerId

from .run import Record as Record
from .run import Run as Run
from .worker_record import WorkerRecord

READ_RECORDS_MAX = 512
READ_BYTES_MAX = 256 << 10
NO_FILES: Final[Mapping[str, bytes]] = MappingProxyType({})


class LogClosed(Exception):
    """Nobody will append to this log again, and its reader has everything.

    `removed` tells whether the worker is gone or the runtime is closing.
    """

    def __init__(self, *, removed: bool) -> None:
        super().__init__("the log was removed" if removed else "the store was closed")
        self.removed = removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much of each worker's log is kept; the newest append always is.

    A store may drop whole groups of appends at once, so it may keep less than
    these bounds allow, never more (the newest append apart). `max_age_s` counts
    from an event's own time; None: for ever.
    """

    max_bytes: int = 32 << 20
    max_events: int = 200_000
    max_age_s: int | None = None


class StreamOffsets(NamedTuple):
    """How much of a process's three streams a log accounts for, in bytes from their beginning.

    `stdin`: input that was accepted; `stdout`, `stderr`: output whose events are
    in the log.
    """

    stdin: int = 0
    stdout: int = 0
    stderr: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a store saw when it was opened, for an operator: `code` names the kind."""

    severity: Literal["info", "warning", "error"]
    code: str
    message: str
    worker_id: WorkerId | None = None


class StoreUnusable(Exception):
    """The store cannot be opened; the one line of its text says why and what to do."""


OnVisible = Callable[[Sequence[Record], Sequence[Event]], None]
Onlooker = Callable[[WorkerId | None, Sequence[Record]], None]
"""Told of an append: whose log it is (None: the runtime's own), and its records. It must not wait."""


class ReadableLog(Protocol):
    """Events in order, numbered and kept: one log, or several that are read as one."""

    @property
    def head(self) -> Seq:
        """Sequence of the newest event; 0 before the first."""

    @property
    def oldest(self) -> Seq:
        """Sequence of the oldest kept event; 0 when there is none."""

    @property
    def trimmed_through(self) -> Seq:
        """Sequence of the newest event that retention dropped; 0 when it dropped none."""

    async def read(
        self, *, after: Seq, max_records: int = READ_RECORDS_MAX, max_bytes: int = READ_BYTES_MAX
    ) -> Run:
        """The kept records after a position, as many as fit (at least one), or none.

        `max_bytes` is of their lines; a read may end when it has half of that. Records
        are made when they are asked for: see `Run`.

        Raises:
            CursorExpired: Retention dropped something after this position.
            StoreCorrupt: A record after it cannot be read back as it was written;
                the error names file and offset.
            StoreMissing, StoreIo: A file is gone, or cannot be read.
        """

    async def holds(self, seq: Seq) -> bool:
        """Whether a kept event has exactly this sequence. Raises what `read` raises of the store."""

    async def count(self, *, after: Seq, through: Seq) -> int:
        """How many events lie behind one position, up to another and with it. Raises what `read` raises."""

    async def before_newest(self, count: int) -> Seq:
        """The position behind which the newest so many events lie, or all kept ones. Raises as `read`."""

    async def wait(self, *, after: Seq) -> None:
        """Return when there is an event after this position.

        Raises:
            LogClosed: There is none, and there never will be.
        """


class Log(ReadableLog, Protocol):
    """One worker's events (or the runtime's own)."""

    @property
    def offsets(self) -> StreamOffsets:
        """The newest offsets that were appended; zeros before the first."""

    async def append(
        self, events: Sequence[Event], *, durable: bool = False, offsets: StreamOffsets | None = None
    ) -> Sequence[Record]:
        """Number, encode and write all events (at least one), or none.

        `durable` asks for the store's strongest level before the return.

        Raises:
            InvalidRequest: An event holds what JSON cannot say.
            StoreIo: The write failed; nothing of it is visible, now or later.
                Or it is written and visible, and its durability failed: then
                the head has moved.
            StoreMissing: Somebody removed the log's files; its readers get `LogClosed`.
        """


class Store(Protocol):
    """Logs and catalog records of one runtime."""

    @property
    def backend(self) -> Literal["memory", "fs_store"]:
        """The contract's word for this store."""

    @property
    def runtime_id(self) -> RuntimeId | None:
        """Whose data it is; None: whoever opened it."""

    @property
    def path(self) -> Path:
        """The store's own folder."""

    @property
    def retention(self) -> Retention:
        """How much of each worker's log is kept."""

    @property
    def durability(self) -> Literal["none", "os", "fsync"]:
        """What survives: nothing, a kill of the process, or a loss of power."""

    @property
    def runtime_log(self) -> Log:
        """The log of the runtime's own events."""

    @property
    def issued_through(self) -> Seq:
        """The newest sequence that was issued: every later event has a higher one."""

    @property
    def visible_through(self) -> Seq:
        """Every event of any log, at or below this, is visible now, or never will be. It never goes back."""

    def watch(self, onlooker: Onlooker | None) -> None:
        """Tell of every append, in the step in which it becomes visible; None: tell nobody any more."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What was found when the store was opened: torn tails that were cut, corrupt files."""

    async def create(
        self, record: WorkerRecord, on_visible: OnVisible, *, beside: Mapping[str, bytes] = NO_FILES
    ) -> Log:
        """Keep a new worker's record and open its log and its directory.

        The record is durable when the next durable append of its log is. The files
        `beside`, by their names, are in the directory as soon as that is there.

        Raises:
            WorkerExists: The id is taken.
            StoreIo: It could not be written; nothing is kept.
        """

    async def receive(
        self,
        record: WorkerRecord,
        records: Iterable[Record],
        *,
        trimmed_through: Seq,
        view: bytes | None,
        files: Path,
    ) -> None:
        """Keep a worker that ended elsewhere, durably: `load` and `open` tell of it from now on.

        `records` is its whole log after `trimmed_through`, checked and in order, at
        least one; a thread iterates over it. This store's own retention applies.
        `view` is as of its head (`save_view`). `files` is a folder on this store's
        disk (`make_incoming`), which becomes the worker's own.

        Raises:
            WorkerExists: The id is taken.
            StoreIo: It could not be written, or `records` could not be read.
                Nothing is kept.
        """

    async def save(self, record: WorkerRecord, *, durable: bool = True) -> None:
        """Keep a newer version of a record; `durable` as of an append. Raises StoreIo, StoreMissing."""

    async def load(self) -> Sequence[WorkerRecord]:
        """Every kept record, in order of creation."""

    async def open(self, worker_id: WorkerId, on_visible: OnVisible) -> Log:
        """The log of a worker that `load` told of; `on_visible` is called for new appends only.

        That of an ended worker costs nothing before it is read.

        Raises:
            WorkerNotFound: No record has this id.
        """

    async def save_view(self, worker_id: WorkerId, state: bytes) -> None:
        """Keep what spares a view of the log its replay. It may be lost, and be older than the log."""

    async def load_view(self, worker_id: WorkerId) -> bytes | None:
        """What `save_view` kept, or None."""

    async def delete(self, worker_id: WorkerId) -> None:
        """Forget a worker: its record, its log (readers get `LogClosed`), its files."""

    def directory(self, worker_id: WorkerId) -> Path:
        """The folder that is this worker's own, mode 0700."""

    async def check(self) -> None:
        """Prove that the store takes writes, by writing. Raises StoreIo, StoreMissing."""

    async def close(self) -> None:
        """End every log: readers that have everything get `LogClosed`."""
