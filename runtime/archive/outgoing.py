"""Writes the archive of an ended worker, piece by piece, as fast as somebody takes it.

Memory: a few pieces, however much there is. Files are read in threads. The log is
read twice, for a tar says the size of a member before its content. What changes
meanwhile (somebody removes the worker, or writes into its files) ends the pieces
with a fault before the archive's end, so nobody takes it for whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchglass.protocol.base import Wire
from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreIo
from watchglass.protocol.workers import LeftOut
from watchglass.store.base import Log
from watchglass.store.worker_record import WorkerRecord

from .members import EVENTS, LEFT_OUT, NOTE, RAW, RECORD, SUMS, VIEW, FormatNote
from .spool import Spool
from .sums import headers_line, sum_line
from .tar import END, Header, TarWriter, padding
from .threads import in_thread
from .workspace import Found, opened, walk

PIECE_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What becomes an archive."""

    note: FormatNote
    record: WorkerRecord
    log: Log
    view: bytes | None
    directory: Path

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The archive's bytes, in order. Whoever stops early closes this iterator.

        Raises:
            StoreIo, StoreMissing, StoreCorrupt, CursorExpired: It cannot be read, or
                changed meanwhile. What came so far is no archive.
        """
        journal_bytes = await self._journal_bytes()
        with closing(_Writing(_modified_us(self.record))) as writing:
            yield writing.document(NOTE, self.note)
            yield writing.document(RECORD, self.record)
            yield writing.begin_own(EVENTS, journal_bytes)
            async for lines in _lines(self.log, self._begin):
                journal_bytes -= len(lines)
                yield writing.content(lines)
            if journal_bytes:
                raise StoreIo("export", EVENTS, "the journal changed while it was exported")
            with closing(_gathered(writing.rest(self.view, self.directory))) as rest:
                try:
                    while piece := await in_thread(next, rest, b""):
                        yield piece
                except OSError as fault:
                    place = str(fault.filename or self.directory)
                    raise StoreIo("export", place, fault.strerror or str(fault)) from fault

    @property
    def _begin(self) -> Seq:
        return Seq(self.note.trimmed_through)

    async def _journal_bytes(self) -> int:
        """Known before the first piece, so that a journal that cannot be read is refused as a whole."""
        size_bytes = 0
        async for lines in _lines(self.log, self._begin):
            size_bytes += len(lines)
        return size_bytes


class _Writing:
    """The archive so far. What it returns is to be sent, in this order."""

    def __init__(self, modified_us: int) -> None:
        """`modified_us`: the time that members show which are no files of the worker."""
        self._modified_us = modified_us
        self._tar = TarWriter()
        self._sums = Spool()
        self._left_out = Spool()
        self._name = ""
        self._size_bytes = 0
        self._digest = hashlib.sha256()

    def close(self) -> None:
        """Forget what was collected."""
        self._sums.close()
        self._left_out.close()

    def begin(self, header: Header) -> bytes:
        """A member begins."""
        self._name, self._size_bytes = header.name, header.size_bytes
        self._digest = hashlib.sha256()
        return self._tar.header(header)

    def begin_own(self, name: str, size_bytes: int) -> bytes:
        """A member begins that is no file of the worker."""
        return self.begin(Header(name=name, size_bytes=size_bytes, modified_us=self._modified_us))

    def content(self, data: bytes) -> bytes:
        """The next bytes of it."""
        self._digest.update(data)
        return data

    def end(self) -> bytes:
        """A file is complete."""
        self._sums.write(sum_line(self._name, self._digest.hexdigest()))
        return padding(self._size_bytes)

    def document(self, name: str, document: Wire) -> bytes:
        """A small member, whole."""
        return self._small(name, document.model_dump_json(indent=2).encode() + b"\n")

    def rest(self, view: bytes | None, directory: Path) -> Iterator[bytes]:
        """The end of the journal, all that follows it, and the archive's end. Blocking; raises OSError."""
        yield self.end()
        if view is not None:
            yield self._small(VIEW, view)
        for name in RAW:
            if os.path.lexists(directory / name):
                yield from self._file(opened(directory / name, name))
        for found in walk(directory):
            if isinstance(found, LeftOut):
                self._left_out.write(found.model_dump_json().encode() + b"\n")
            elif found.descriptor is None:
                yield self._tar.header(found.header)
            else:
                yield from self._file(found)
        yield self.begin_own(LEFT_OUT, self._left_out.size_bytes)
        yield from map(self.content, self._left_out.pieces())
        yield self.end()
        yield from self._checksums()
        yield END

    def _small(self, name: str, content: bytes) -> bytes:
        begin = self.begin_own(name, len(content))
        return b"".join((begin, self.content(content), self.end()))

    def _file(self, found: Found) -> Iterator[bytes]:
        assert found.descriptor is not None
        with os.fdopen(found.descriptor, "rb", buffering=0) as file:
            yield self.begin(found.header)
            left = found.header.size_bytes
            while left:
                data = file.read(min(left, PIECE_BYTES))
                if not data:
                    raise OSError(0, f"became {left} bytes shorter while it was exported", found.header.name)
                left -= len(data)
                yield self.content(data)
            yield self.end()

    def _checksums(self) -> Iterator[bytes]:
        """The last member: its own header is digested, too."""
        size_bytes = len(headers_line(self._tar.headers.hexdigest())) + self._sums.size_bytes
        yield self.begin_own(SUMS, size_bytes)
        yield headers_line(self._tar.headers.hexdigest())
        yield from self._sums.pieces()
        yield padding(size_bytes)


def _modified_us(record: WorkerRecord) -> int:
    assert record.end is not None
    return record.end.finished_us


async def _lines(log: Log, after: Seq) -> AsyncIterator[bytes]:
    """The journal after a position, some lines at a time, each with its newline."""
    while run := await log.read(after=after):
        after = run.last
        yield b"\n".join([*run.lines, b""])
        await asyncio.sleep(0)  # Memory answers at once; others have their turn.


def _gathered(pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same bytes in larger pieces: a workspace has many small files."""
    held: list[bytes] = []
    size_bytes = 0
    for piece in pieces:
        held.append(piece)
        size_bytes += len(piece)
        if size_bytes >= PIECE_BYTES:
            yield b"".join(held)
            held.clear()
            size_bytes = 0
    if held:
        yield b"".join(held)
