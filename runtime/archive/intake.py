"""Takes an archive apart while it arrives, into a folder that nobody looks at yet.

    <folder>/files/         what becomes the worker's folder: raw output, workspace
    <folder>/events.jsonl   its journal, each line checked

Blocking, so it is fed in threads, one piece at a time. Memory: one piece, one line,
one document. When `finish` returns, all of it is there and is what an export
wrote; until then nothing of it may be believed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import orjson

from watchglass.protocol.base import Wire
from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import ArchiveInvalid, InvalidJson, InvalidRequest, StoreIo
from watchglass.protocol.lifecycle import ENDED
from watchglass.protocol.parsing import decode
from watchglass.store.base import Record
from watchglass.store.worker_record import WorkerRecord

from .lines import JournalCheck, seq_of
from .members import (
    EVENTS,
    FORMAT,
    LEFT_OUT,
    NOTE,
    RAW,
    RECORD,
    SUMS,
    TARGET_BYTES_MAX,
    VIEW,
    FormatNote,
    Order,
)
from .sinks import Document, FileSink, JournalSink, Nowhere, Omissions, Sink
from .spool import Spool
from .sums import SumsCheck, sum_line
from .tar import Header, Kind, TarReader
from .tree import Tree

TIME_US_MAX: Final = 253_402_300_799_999_999
"""The end of the year 9999, the last that an answer can say."""
_LEADS_OUT: Final = "a symbolic link that leads out of the workspace"
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
M = TypeVar("M", bound=Wire)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A whole archive, taken apart and checked."""

    record: WorkerRecord
    trimmed_through: Seq
    view: bytes | None
    files: Path
    events: Path
    omissions: Omissions

    def records(self) -> Iterator[Record]:
        """The journal, from the disk. Raises OSError."""
        with self.events.open("rb") as file:
            for line in file:
                yield Record(seq_of(line), line[:-1])


class Intake:
    """An archive that arrives. Call `close` in any case."""

    def __init__(self, folder: Path, now_us: int) -> None:
        """Raises OSError: nothing can be made in the folder."""
        self._folder = folder
        self._now_us = now_us
        self._reader = TarReader(self)
        self._order = Order()
        self._sink: Sink = Nowhere()
        self._header = Header(name="")
        self._digest = hashlib.sha256()
        self.note: FormatNote | None = None
        """Whose archive it is, as soon as that is known."""
        self._record: WorkerRecord | None = None
        self._view: bytes | None = None
        self._omissions = Omissions()
        self._files = folder / "files"
        self._files.mkdir(mode=0o700)
        self._tree = Tree(str(self._files))
        self._sums = Spool(folder)

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises ArchiveInvalid, StoreIo."""
        try:
            self._reader.feed(data)
        except OSError as fault:
            reason = fault.strerror or str(fault)
            raise StoreIo("import", str(self._folder), f"{self._header.name}: {reason}") from fault

    def finish(self) -> Arrived:
        """There are no more bytes. Raises ArchiveInvalid when that is not all."""
        self._reader.finish()
        self._order.finish()
        assert self._record is not None
        return Arrived(
            record=self._record,
            trimmed_through=self._trimmed_through,
            view=self._view,
            files=self._files,
            events=self._folder / EVENTS,
            omissions=self._omissions,
        )

    def close(self) -> None:
        """Let every file go."""
        self._sink.close()
        self._tree.close()
        self._sums.close()

    # What the reader finds (see `tar.Members`).

    def begin(self, header: Header) -> None:
        """A member begins."""
        if self.note is None and header.name != NOTE:
            raise ArchiveInvalid(header.name, f"is the first, where {NOTE} belongs: this is no export")
        self._order.check(header)
        self._header = header
        self._digest = hashlib.sha256()
        self._sink = self._sink_of(header)

    def content(self, data: bytes) -> None:
        """The next bytes of it."""
        self._digest.update(data)
        self._sink.write(data)

    def end(self) -> None:
        """It is complete."""
        self._sink.finish()
        self._sink.close()
        self._sink = Nowhere()
        if self._header.kind is Kind.FILE and self._header.name != SUMS:
            self._sums.write(sum_line(self._header.name, self._digest.hexdigest()))

    def _sink_of(self, header: Header) -> Sink:
        name = header.name
        if name == NOTE:
            return Document(self._take_note)
        if name == RECORD:
            return Document(self._take_record)
        if name == VIEW:
            return Document(self._take_view)
        if name == EVENTS:
            assert self.note is not None
            check = JournalCheck(self.note.worker_id, self._trimmed_through, self._now_us)
            return JournalSink(check, (self._folder / EVENTS).open("xb"))
        if name == LEFT_OUT:
            self._tree.finish()
            return self._omissions
        if name == SUMS:
            return SumsCheck(self._reader.headers.hexdigest(), self._sums)
        if name in RAW:
            return FileSink(os.open(self._files / name, _FILE_FLAGS, 0o600), header)
        return self._sink_in_workspace(header)

    def _sink_in_workspace(self, header: Header) -> Sink:
        if header.kind is Kind.FILE:
            return FileSink(self._tree.file(header), header)
        if header.kind is Kind.FOLDER:
            self._tree.folder(header)
        elif len(os.fsencode(header.target)) > TARGET_BYTES_MAX:
            raise ArchiveInvalid(header.name, f"is a link of over {TARGET_BYTES_MAX} bytes")
        elif not self._tree.link(header):
            self._omissions.add(header.name, _LEADS_OUT)
        return Nowhere()

    def _take_note(self, content: bytes) -> None:
        _check_format(content)
        self.note = _decoded(NOTE, FormatNote, content)

    def _take_record(self, content: bytes) -> None:
        assert self.note is not None
        record = _decoded(RECORD, WorkerRecord, content)
        if record.worker_id != self.note.worker_id:
            raise ArchiveInvalid(
                RECORD, f"is of worker {record.worker_id!r}, and {NOTE} says {self.note.worker_id!r}"
            )
        if record.end is None or record.end.phase not in ENDED:
            raise ArchiveInvalid(RECORD, f"says that worker {record.worker_id!r} has not ended")
        times = (record.created_us, record.end.started_us or 0, record.end.finished_us)
        if not all(0 <= time_us <= TIME_US_MAX for time_us in times):
            raise ArchiveInvalid(RECORD, "has a time that no clock shows")
        self._record = record

    def _take_view(self, content: bytes) -> None:
        self._view = content

    @property
    def _trimmed_through(self) -> Seq:
        assert self.note is not None
        return Seq(self.note.trimmed_through)


def _check_format(content: bytes) -> None:
    """Before more of it is understood: a newer format may say the rest otherwise. Raises ArchiveInvalid."""
    try:
        said = orjson.loads(content)
        found, version = said["format"], said.get("version")
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        raise ArchiveInvalid(NOTE, "does not say which format this is") from None
    if isinstance(found, int) and found > FORMAT:
        raise ArchiveInvalid(
            NOTE,
            f"says format {found}, and {FORMAT} is the newest that is known here; "
            f"use the version of watchglass that wrote it ({version}), or a newer one",
        )


def _decoded(name: str, model: type[M], content: bytes) -> M:
    try:
        return decode(model, content)
    except InvalidJson:
        raise ArchiveInvalid(name, "is not JSON") from None
    except InvalidRequest as fault:
        raise ArchiveInvalid(name, str(fault)) from None
