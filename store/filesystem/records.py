"""A worker's record on the disk, and what its view keeps.

    worker.json    {"schema":1,"born":"<16 hex>","version":"<16 hex>","record":{…},
                    "log":{"head":…,"oldest":…,"trimmed_through":…,"io":[…],"segment":…,"size":N},"crc":"…"}
    view.json      the view's bytes, a newline, {"crc":"…"}

`born` is a sequence that was taken when the worker was created, so a worker is
told from an older one of the same id; `version` one that was taken with this
change, so the newest of several copies is known. `log` is there once the worker
has ended and its log is complete: with it, the log need not be opened before
somebody reads it. It holds while the newest segment has the same name and size.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from zlib import crc32

from pydantic import ValidationError

from watchglass.protocol.base import Wire
from watchglass.protocol.cursor import Seq
from watchglass.store.base import StreamOffsets
from watchglass.store.worker_record import WorkerRecord

from .files import Files
from .layout import SCHEMA
from .loading import LogFacts
from .log import FileLog
from .seal import END_BYTES, KEY, sealed, stated_crc
from .segment import Segment

RECORD_FILE = "worker.json"
VIEW_FILE = "view.json"
_RECORD_PARTS = ("plan",)
_REQUEST_PARTS = ("intent", "profile", "limits", "sandbox", "policy", "control_context")


class CompleteLog(Wire):
    """What is kept of a complete log; sequences are 16 hex digits."""

    head: str
    oldest: str
    trimmed_through: str
    io: tuple[int, int, int]
    segment: str
    size: int


class _Said(Wire):
    """`worker.json`, or what a line of the write-ahead file says of it."""

    born: str
    version: str
    record: WorkerRecord
    log: CompleteLog | None = None


class Kept(NamedTuple):
    """A record with what the store knows of it."""

    record: WorkerRecord
    born: Seq
    version: Seq
    log: CompleteLog | None = None

    def encoded(self) -> bytes:
        """As it is written, in `worker.json` (sealed) and in the write-ahead file."""
        log = b"" if self.log is None else b',"log":%b' % self.log.model_dump_json().encode()
        record = self.record.model_dump_json().encode()
        head = (SCHEMA, self.born, self.version, record)
        return b'{"schema":%d,"born":"%016x","version":"%016x","record":%b' % head + log + b"}"


def kept_of(data: bytes) -> Kept | None:
    """A record from what was written; None when it is not one."""
    try:
        said = _Said.model_validate_json(data)
        return Kept(said.record, Seq(int(said.born, 16)), Seq(int(said.version, 16)), said.log)
    except (ValidationError, ValueError):
        return None


class SharedParts:
    """What records say alike, kept once: ten thousand workers have few plans between them.

    Wire models are frozen, so nobody can tell an equal part from its own.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[type[Wire], str], Wire] = {}

    def put_into(self, record: WorkerRecord) -> None:
        """Give a record that was just read the parts of an earlier one that says the same."""
        for owner, names in ((record, _RECORD_PARTS), (record.request, _REQUEST_PARTS)):
            has = vars(owner)
            for name in names:
                part: Wire | None = has[name]
                if part is not None:
                    has[name] = self._parts.setdefault((type(part), part.model_dump_json()), part)


def note_of(change: Literal["create", "save"], encoded: bytes) -> bytes:
    """A line of the write-ahead file."""
    return b'{"%b":%b}' % (change.encode(), encoded)


def write_record(files: Files, directory: str, encoded: bytes) -> None:
    """Keep it in its worker's folder. Raises OSError."""
    files.replace(f"{directory}/{RECORD_FILE}", sealed_record(encoded))


def sealed_record(encoded: bytes) -> bytes:
    """What its file holds."""
    return sealed(encoded[:-1] + b"," + KEY)[0]


def read_record(files: Files, directory: str) -> Kept | None:
    """What is kept in a worker's folder; None when it cannot be trusted. Raises OSError."""
    data = files.read_whole(f"{directory}/{RECORD_FILE}")
    return kept_of(data) if stated_crc(data) == crc32(data[:-END_BYTES]) else None


def complete_log(log: FileLog) -> CompleteLog | None:
    """What to keep of a complete log; None when it has nothing."""
    newest = log.newest_segment()
    if newest is None:
        return None
    head, oldest, trimmed_through, offsets = log.facts()
    return CompleteLog(
        head=f"{head:016x}",
        oldest=f"{oldest:016x}",
        trimmed_through=f"{trimmed_through:016x}",
        io=(offsets.stdin, offsets.stdout, offsets.stderr),
        segment=f"{newest.first:016x}",
        size=newest.size_bytes,
    )


def known_log(files: Files, events_directory: str, said: CompleteLog | None) -> LogFacts | None:
    """The facts of a complete log, if its newest segment is still the one that they were taken of."""
    if said is None:
        return None
    segment = Segment(events_directory, Seq(int(said.segment, 16)))
    try:
        if files.stat(segment.path).st_size != said.size:
            return None
    except OSError:
        return None
    return complete_facts(said)


def complete_facts(said: CompleteLog) -> LogFacts:
    """What a record keeps of a complete log."""
    head, oldest, trimmed = (Seq(int(text, 16)) for text in (said.head, said.oldest, said.trimmed_through))
    return LogFacts(head, oldest, trimmed, StreamOffsets(*said.io))


def write_view(files: Files, directory: str, state: bytes) -> None:
    """Keep a view's state. Raises OSError."""
    files.replace(f"{directory}/{VIEW_FILE}", sealed(state + b"\n{" + KEY)[0])


def read_view(files: Files, directory: str) -> bytes | None:
    """What a view kept; None when there is nothing that can be trusted. Raises OSError."""
    try:
        data = files.read_whole(f"{directory}/{VIEW_FILE}")
    except FileNotFoundError:
        return None
    end = len(data) - END_BYTES - len(KEY) - 2
    if end < 0 or sealed(data[:-END_BYTES])[0] != data:
        return None
    return data[:end]
