"""What a store does before it opens: reads the catalog, and brings the write-ahead files' events home.

A kill or a loss of power may have left, in the write-ahead files alone:
events, new or changed records, deletions. All that is there is done again,
and is safe in its own place before the write-ahead files go. An append that a
log has already is known by its sequence, a change of a record by its version,
and an older worker of the same id by when it was born.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import orjson

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import StoreFault, StoreMissing
from watchglass.protocol.identity import WorkerId, id_fault
from watchglass.store.base import Finding, Record, StreamOffsets

from .ahead import without_room
from .files import fault_of
from .ground import Ground
from .layout import EVENTS, Layout
from .loading import LogFacts, LogState, load_log
from .log import FileLog
from .reading import good_pieces
from .records import RECORD_FILE, Kept, SharedParts, kept_of, known_log, read_record, write_record
from .wal import WAL_FILE

_REMOVED = re.compile(r".+\+[0-9a-f]{16}")
"""A folder that `delete` moved; what else somebody laid beside it is not ours to remove."""
_EVENT_BYTE = ord("u")  # Of `{"cursor…`.


@dataclass(slots=True)
class Recovered:
    """A store's content, as it stands when it is opened."""

    runtime_log: FileLog
    workers: dict[WorkerId, Kept] = field(default_factory=dict)
    logs: dict[WorkerId, FileLog] = field(default_factory=dict)
    next_wal: int = 0

    @property
    def head(self) -> Seq:
        """The newest sequence that is known from the logs."""
        return max(BEGINNING, self.runtime_log.head, *(log.head for log in self.logs.values()))


@dataclass(slots=True)
class _Replayed:
    """What the write-ahead files say of one worker, or of the runtime, since it was created."""

    created: bool = False
    kept: Kept | None = None
    gone_before: Seq | None = None
    appends: list[tuple[list[Record], StreamOffsets | None]] = field(default_factory=list)

    def forget(self, before: Seq) -> None:
        """What is older was of a worker that was deleted."""
        if self.kept is not None and self.kept.born < before:
            self.kept, self.created = None, False
        self.appends = [each for each in self.appends if each[0][0].seq > before]


class Recovery:
    """One run of it: plain file operations, for a thread of its own."""

    def __init__(self, ground: Ground, layout: Layout) -> None:
        self._ground = ground
        self._files = ground.files
        self._layout = layout
        self._tell = ground.salvage.tell
        self._wal_paths: list[str] = []
        self._next_wal = 0
        self._to_sync: dict[str, None] = {}
        """Files and directories that hold what a write-ahead file held."""

    def run(self) -> Recovered:
        """Bring everything into its place.

        Raises:
            StoreIo, StoreMissing: The disk refused something; nothing is lost by trying again.
        """
        try:
            self._clear_unborn()
            replayed = self._replayed()
            for name, before in self._removed().items():
                if (gone := replayed.get(name.rpartition("+")[0])) is not None:
                    gone.forget(before)
            for worker_id, said in replayed.items():
                if worker_id is not None:
                    self._bring_worker(worker_id, said)
            recovered = Recovered(self._runtime_log(), next_wal=self._next_wal)
            for worker_id, kept in self._kept_workers():
                recovered.workers[worker_id] = kept
                owed = worker_id in replayed and bool(replayed[worker_id].appends)
                recovered.logs[worker_id] = self._log_of(worker_id, kept, owed=owed)
            for worker_id, said in replayed.items():
                log = recovered.runtime_log if worker_id is None else recovered.logs.get(worker_id)
                self._bring_events(log, worker_id, said)
            self._finish()
        except OSError as fault:
            raise fault_of("recover", str(fault.filename or self._layout.path), fault) from fault
        return recovered

    def _clear_unborn(self) -> None:
        """Remove what is left of creations that nobody was ever told of."""
        for name in self._files.listdir(self._layout.workers):
            if name.startswith("+"):
                self._files.rmtree(f"{self._layout.workers}/{name}", ignore_errors=True)

    def _removed(self) -> dict[str, Seq]:
        """Folders of deleted workers that are just going: each stands for `delete` in a write-ahead file."""
        names = self._files.listdir(self._layout.removed)
        return {name: Seq(int(name[-16:], 16)) for name in names if _REMOVED.fullmatch(name)}

    # The write-ahead files.

    def _replayed(self) -> dict[WorkerId | None, _Replayed]:
        found: dict[WorkerId | None, _Replayed] = {}
        names = [name for name in self._files.listdir(self._layout.journal) if WAL_FILE.match(name)]
        for name in sorted(names, key=_wal_number):
            self._next_wal = _wal_number(name) + 1
            path = f"{self._layout.journal}/{name}"
            self._wal_paths.append(path)
            data = without_room(self._files.read_whole(path))
            end = 0
            for piece in good_pieces(data):
                if piece.begin.offset > end:
                    self._keep_corrupt(path, end, data[end : piece.begin.offset])
                end = piece.begin.offset + len(piece.data)
                _read_round(piece.data, found)
            if end < len(data):
                kept = self._ground.salvage.keep(path, end, data[end:])
                message = f"{path}: what follows offset {end} was no whole round and is in {kept}"
                self._tell(Finding("warning", "torn_tail", message))
        return found

    def _keep_corrupt(self, path: str, offset: int, data: bytes) -> None:
        kept = self._ground.salvage.keep(path, offset, data)
        message = f"{path}: what follows offset {offset} cannot be read back; {len(data)} bytes are in {kept}"
        self._tell(Finding("error", "corrupt", message))

    # Workers.

    def _bring_worker(self, worker_id: WorkerId, said: _Replayed) -> None:
        """Make a worker's folder and record what the write-ahead files say they are."""
        directory = self._layout.worker(worker_id)
        there, kept = self._look(directory)
        if there and said.gone_before is not None and (kept is None or kept.born < said.gone_before):
            self._put_away(directory, worker_id, said.gone_before, known=kept is not None)
            there, kept = False, None
        if said.kept is None or not (there or said.created):
            return  # Nothing is to be kept, or somebody removed it since.
        if kept is None or kept.version < said.kept.version:
            self._files.make_directory(directory)
            self._files.make_directory(f"{directory}/{EVENTS}")
            write_record(self._files, directory, said.kept.encoded())
        for path in (f"{directory}/{RECORD_FILE}", directory, self._layout.workers):
            self._to_sync[path] = None

    def _look(self, directory: str) -> tuple[bool, Kept | None]:
        """Whether a worker's folder is there, and the record in it if it can be trusted."""
        try:
            self._files.stat(directory)
        except FileNotFoundError:
            return False, None
        try:
            return True, read_record(self._files, directory)
        except FileNotFoundError:
            return True, None

    def _put_away(self, directory: str, worker_id: WorkerId, before: Seq, *, known: bool) -> None:
        """A deleted worker's folder goes; one of which we are not sure is kept aside."""
        if known:
            self._files.rename(directory, f"{self._layout.removed}/{worker_id}+{before:016x}")
        else:
            moved = self._ground.salvage.move(directory)
            message = f"{directory}: deleted, but its record cannot be read; it is in {moved}"
            self._tell(Finding("warning", "record_corrupt", message, worker_id))

    def _kept_workers(self) -> list[tuple[WorkerId, Kept]]:
        """Every worker whose record can be read; a finding for each that cannot."""
        found: list[tuple[WorkerId, Kept]] = []
        shared = SharedParts()
        for name in sorted(self._files.listdir(self._layout.workers)):
            directory = self._layout.worker(name)
            if id_fault(name) is not None:
                self._tell(Finding("info", "foreign_file", f"{directory}: no worker has this name"))
                continue
            try:
                kept = read_record(self._files, directory)
            except (FileNotFoundError, NotADirectoryError):
                self._tell(Finding("error", "record_missing", f"{directory}: has no {RECORD_FILE}", name))
                continue
            if kept is None or kept.record.worker_id != name:
                message = f"{directory}/{RECORD_FILE}: cannot be read back as it was written"
                self._tell(Finding("error", "record_corrupt", message, name))
            else:
                shared.put_into(kept.record)
                found.append((name, kept))
        return found

    # Logs.

    def _runtime_log(self) -> FileLog:
        events = self._layout.runtime_events
        self._files.make_directory(events)
        state = load_log(self._files, events, None, self._ground.salvage)
        return FileLog(self._ground, None, events, state)

    def _log_of(self, worker_id: WorkerId, kept: Kept, *, owed: bool) -> FileLog:
        """A worker's log; that of an ended one stays shut, and one that cannot be read troubles nobody else.

        Unless it is `owed` events of a write-ahead file, and the disk refused: then
        nothing may go on, for those files could not go.
        """
        directory = f"{self._layout.worker(worker_id)}/{EVENTS}"
        known: LogState | LogFacts | None = known_log(self._files, directory, kept.log)
        if known is None:
            try:
                known = load_log(self._files, directory, worker_id, self._ground.salvage)
            except StoreFault as fault:
                if owed and not isinstance(fault, StoreMissing):
                    raise
                self._tell(Finding("error", fault.code, str(fault), worker_id))
        return FileLog(self._ground, worker_id, directory, known)

    def _bring_events(self, log: FileLog | None, worker_id: WorkerId | None, said: _Replayed) -> None:
        """Append what a log does not have yet."""
        if not said.appends:
            return
        if log is None:
            self._report_homeless(worker_id, "somebody removed its folder")
            return
        try:
            for records, offsets in said.appends:
                log.restore(records, offsets)
        except StoreMissing as fault:
            self._report_homeless(worker_id, str(fault))
            return
        for path in log.paths_from(said.appends[0][0][0].seq):
            self._to_sync[path] = None

    def _report_homeless(self, worker_id: WorkerId | None, reason: str) -> None:
        message = f"the last events of worker {worker_id!r} were not brought home: {reason}"
        self._tell(Finding("warning", "worker_missing", message, worker_id))

    def _finish(self) -> None:
        """Make all of it safe; only then may the write-ahead files go."""
        for path in self._to_sync:
            self._files.sync_file(path)
        if self._wal_paths:
            self._files.sync_directory(self._layout.workers)
            self._files.sync_directory(self._layout.removed)
        for path in self._wal_paths:
            self._files.unlink(path)
        for name in self._removed():
            self._files.rmtree(f"{self._layout.removed}/{name}", ignore_errors=True)


def _wal_number(name: str) -> int:
    match = WAL_FILE.match(name)
    assert match is not None
    return int(match[1])


def _read_round(data: bytes, found: dict[WorkerId | None, _Replayed]) -> None:
    """Take what a whole round says, in its order."""
    records: list[Record] = []
    for line in data[:-1].split(b"\n"):
        if line[3] == _EVENT_BYTE:
            records.append(Record(Seq(int(line[14:30], 16)), line))
        elif line.startswith(b'{"log":'):
            facts = orjson.loads(line)
            offsets = StreamOffsets(*facts["io"]) if "io" in facts else None
            found.setdefault(facts["log"], _Replayed()).appends.append((records, offsets))
            records = []
        elif line.startswith(b'{"delete":'):
            facts = orjson.loads(line)
            found[facts["delete"]] = _Replayed(gone_before=Seq(int(facts["before"], 16)))
        elif line.startswith(b'{"create":'):
            _take_record(kept_of(line[10:-1]), found, created=True)
        elif line.startswith(b'{"save":'):
            _take_record(kept_of(line[8:-1]), found, created=False)


def _take_record(kept: Kept | None, found: dict[WorkerId | None, _Replayed], *, created: bool) -> None:
    assert kept is not None, "a verified line holds what was encoded"
    said = found.setdefault(kept.record.worker_id, _Replayed())
    said.created = said.created or created
    if said.kept is None or said.kept.version < kept.version:
        said.kept = kept
