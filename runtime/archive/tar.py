"""The tar format (POSIX pax), as much of it as an archive has. Without I/O.

    member    [x header | records | padding]   header, 512 bytes | content | padding
    the end   two blocks of zeros, and nothing but zeros after them

Headers are made by the standard library. They are read here, because what is
read comes from anywhere: a header that asks for memory, a hard link, a device, a
sparse file or a header for all members is refused by name, and nothing of a
member is held but its header.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from watchglass.protocol.errors import ArchiveInvalid

BLOCK_BYTES: Final = 512
RECORDS_BYTES_MAX: Final = 64 << 10
"""The most that pax may say about one member: two paths and a few numbers."""
SIZE_BYTES_MAX: Final = 1 << 53
_MAGIC: Final = b"ustar\x0000"
MODE_BITS: Final = 0o777
"""What of a mode is kept: no bit that lends anybody rights."""
_US: Final = 1_000_000
_MODIFIED_S_MAX: Final = 1 << 40
_RECORD: Final = re.compile(rb"([0-9]{1,6}) ([^=\n]{1,200})=")
_ZEROS: Final = bytes(BLOCK_BYTES)


class Kind(StrEnum):
    """What a member is."""

    FILE = "regular file"
    FOLDER = "folder"
    LINK = "symbolic link"


_TYPES: Final = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.SYMTYPE: Kind.LINK,
}
_REFUSED_TYPES: Final = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.XGLTYPE: "a header for all members",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_TYPES_OF: Final = {Kind.FILE: tarfile.REGTYPE, Kind.FOLDER: tarfile.DIRTYPE, Kind.LINK: tarfile.SYMTYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is said of a member before its content. Names are as `os.fsdecode` gives them."""

    name: str
    kind: Kind = Kind.FILE
    size_bytes: int = 0
    mode: int = 0o600
    modified_us: int = 0
    target: str = ""


class Members(Protocol):
    """Whoever takes what is read."""

    def begin(self, header: Header) -> None:
        """A member begins."""

    def content(self, data: bytes) -> None:
        """The next bytes of it; never empty."""

    def end(self) -> None:
        """It is complete."""


class TarWriter:
    """Gives the bytes around the contents. `headers` digests every header so far."""

    def __init__(self) -> None:
        self.headers = hashlib.sha256()

    def header(self, header: Header) -> bytes:
        """What stands before a member's content."""
        said = tarfile.TarInfo(header.name)
        said.type = _TYPES_OF[header.kind]
        said.size = header.size_bytes
        said.mode = header.mode & MODE_BITS
        said.linkname = header.target
        seconds, micros = divmod(max(0, header.modified_us), _US)
        said.mtime = seconds
        if micros:
            said.pax_headers = {"mtime": f"{seconds}.{micros:06d}"}
        block = said.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self.headers.update(block)
        return block


def padding(size_bytes: int) -> bytes:
    """What stands after so much content."""
    return bytes(-size_bytes % BLOCK_BYTES)


END: Final = bytes(2 * BLOCK_BYTES)


class TarReader:
    """Bytes in, members out. Bounded: it holds a header, never a content."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._held = bytearray()
        self._wanted = BLOCK_BYTES  # Of a header, or of the records before one.
        self._records_bytes = 0  # Without their padding; 0: a header is wanted.
        self._records: dict[str, bytes] = {}
        self._current: Header | None = None
        self._left = 0
        self._padding = 0
        self._zeros = 0
        self._offset = 0
        self.headers = hashlib.sha256()
        """Of every header that is complete."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, of any number.

        Raises:
            ArchiveInvalid: They are no such tar. What `members` raises passes through.
        """
        view = memoryview(data)
        while view:
            taken = self._step(view)
            self._offset += taken
            view = view[taken:]

    def finish(self) -> None:
        """There are no more bytes. Raises ArchiveInvalid when the end is missing."""
        if self._zeros >= len(END):
            return
        if self._current is not None:
            size_bytes = self._current.size_bytes
            missing = (
                f"ends after {size_bytes - self._left} of its {size_bytes} bytes: the archive is cut off"
            )
            raise ArchiveInvalid(self._current.name, missing)
        raise ArchiveInvalid(None, f"it is cut off after {self._offset} bytes, before its end")

    def _step(self, view: memoryview) -> int:
        """Take some of the bytes; how many."""
        if self._current is not None:
            return self._take_content(view)
        if self._padding:
            return self._take_padding(view)
        if self._zeros:
            return self._take_end(view)
        return self._take_header(view)

    def _take_content(self, view: memoryview) -> int:
        taken = min(self._left, len(view))
        self._left -= taken
        self._members.content(bytes(view[:taken]))
        self._end_if_complete()
        return taken

    def _end_if_complete(self) -> None:
        if not self._left:
            assert self._current is not None
            self._padding = -self._current.size_bytes % BLOCK_BYTES
            self._current = None
            self._members.end()

    def _take_padding(self, view: memoryview) -> int:
        taken = min(self._padding, len(view))
        if view[:taken].tobytes().strip(b"\0"):
            raise ArchiveInvalid(None, f"byte {self._offset}: something stands between two members")
        self._padding -= taken
        return taken

    def _take_end(self, view: memoryview) -> int:
        if view.tobytes().strip(b"\0"):
            raise ArchiveInvalid(None, "something follows its end")
        self._zeros += len(view)
        return len(view)

    def _take_header(self, view: memoryview) -> int:
        taken = min(self._wanted - len(self._held), len(view))
        self._held += view[:taken]
        if len(self._held) == self._wanted:
            held, self._held, self._wanted = bytes(self._held), bytearray(), BLOCK_BYTES
            if self._records_bytes:
                self.headers.update(held)
                self._records = _records(held[: self._records_bytes])
                self._records_bytes = 0
            elif held == _ZEROS:
                if self._records:
                    raise ArchiveInvalid(None, f"byte {self._offset}: a pax header stands before the end")
                self._zeros = BLOCK_BYTES
            else:
                self.headers.update(held)
                self._begin(self._parsed(held))
        return taken

    def _parsed(self, block: bytes) -> tarfile.TarInfo:
        if block[257:265] != _MAGIC:
            raise self._no_header("what 'watchglass export' writes is a pax tar, not compressed")
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as fault:
            raise self._no_header(str(fault)) from None

    def _no_header(self, reason: str) -> ArchiveInvalid:
        start = self._offset // BLOCK_BYTES * BLOCK_BYTES
        return ArchiveInvalid(None, f"byte {start} begins no header of a tar: {reason}")

    def _begin(self, said: tarfile.TarInfo) -> None:
        if said.type == tarfile.XHDTYPE:
            if self._records or not 0 < said.size <= RECORDS_BYTES_MAX:
                raise ArchiveInvalid(
                    None, f"byte {self._offset}: a pax header of {said.size} bytes, or a second one"
                )
            self._records_bytes = said.size
            self._wanted = said.size + -said.size % BLOCK_BYTES
            return
        records, self._records = self._records, {}
        header = _header(said, records)
        self._current, self._left = header, header.size_bytes
        self._members.begin(header)
        self._end_if_complete()


def _header(said: tarfile.TarInfo, records: dict[str, bytes]) -> Header:
    name = _path(records, "path", said.name)
    kind = _TYPES.get(said.type)
    if kind is None:
        what = _REFUSED_TYPES.get(said.type, f"of type {said.type!r}")
        raise ArchiveInvalid(name, f"is {what}, which no archive of a worker has")
    if any(key.startswith("GNU.sparse") for key in records):
        raise ArchiveInvalid(name, "is a sparse file, which no archive of a worker has")
    size_bytes = _number(name, "size", records.get("size"), said.size)
    if not 0 <= size_bytes <= SIZE_BYTES_MAX or (size_bytes and kind is not Kind.FILE):
        raise ArchiveInvalid(name, f"has a size of {size_bytes} bytes")
    return Header(
        name=name.rstrip("/") if kind is Kind.FOLDER else name,
        kind=kind,
        size_bytes=size_bytes,
        mode=said.mode & MODE_BITS,
        modified_us=_modified_us(name, records.get("mtime"), said.mtime),
        target=_path(records, "linkpath", said.linkname),
    )


def _path(records: dict[str, bytes], key: str, otherwise: str) -> str:
    text = os.fsdecode(records[key]) if key in records else otherwise
    if "\0" in text:
        raise ArchiveInvalid(text, "has a NUL character in its name")
    return text


def _number(name: str, key: str, record: bytes | None, otherwise: int) -> int:
    if record is None:
        return otherwise
    if not re.fullmatch(rb"[0-9]{1,19}", record):
        raise ArchiveInvalid(name, f"has a {key} that is no number")
    return int(record)


def _modified_us(name: str, record: bytes | None, otherwise: float) -> int:
    if record is None:
        seconds, micros = int(otherwise), 0
    else:
        match = re.fullmatch(rb"(-?[0-9]{1,13})(?:\.([0-9]{1,18}))?", record)
        if match is None:
            raise ArchiveInvalid(name, "has a time of change that is no number")
        seconds, micros = int(match[1]), int((match[2] or b"0").ljust(6, b"0")[:6])
    if seconds > _MODIFIED_S_MAX:
        raise ArchiveInvalid(name, f"was changed {seconds} seconds after 1970, which is no time")
    return max(0, seconds * _US + micros)


def _records(data: bytes) -> dict[str, bytes]:
    """The pax records of one member: `LENGTH KEY=VALUE` and a newline, one after the other."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        match = _RECORD.match(data, at)
        end = at + int(match[1]) if match is not None else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1] != ord("\n"):
            raise ArchiveInvalid(None, "a pax header cannot be understood")
        found[match[2].decode("utf-8", "replace")] = data[match.end() : end - 1]
        at = end
    return found
