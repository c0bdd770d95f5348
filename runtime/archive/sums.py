"""Checksums of members, as `sha256sum` writes them: the last member of an archive.

    # headers <sha256 of every tar header, this file's included>
    <sha256>  <name>
    \\<sha256>  <name in which \\ and newlines are escaped>

Both sides collect the lines of what they see in a `Spool`, for a workspace may have
a million files.
"""

from __future__ import annotations

import re
from typing import Final

from watchglass.protocol.errors import ArchiveInvalid

from .members import SUMS, place_of
from .spool import Spool

LINE_BYTES_MAX: Final = 64 << 10
_LINE: Final = re.compile(rb"(\\?)([0-9a-f]{64})  (.+)\n", re.DOTALL)
_ESCAPES: Final = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES: Final = {escaped: plain for plain, escaped in _ESCAPES.items()}


def headers_line(sha256: str) -> bytes:
    """The first line."""
    return b"# headers %b\n" % sha256.encode()


def sum_line(name: str, sha256: str) -> bytes:
    """The line of one member."""
    plain = name.encode("utf-8", "surrogateescape")
    escaped = re.sub(rb"[\\\n\r]", lambda found: _ESCAPES[found[0]], plain)
    return b"%b%b  %b\n" % (b"" if escaped == plain else b"\\", sha256.encode(), escaped)


class SumsCheck:
    """Compares what an archive says of itself with what was read of it."""

    def __init__(self, headers_sha256: str, sums: Spool) -> None:
        self._sums = sums
        self._headers_sha256 = headers_sha256
        self._said_headers = False
        self._held = b""
        sums.rewind()

    def write(self, data: bytes) -> None:
        """The next bytes. Raises ArchiveInvalid, which names the member whose sum is another one."""
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > LINE_BYTES_MAX:
            raise ArchiveInvalid(SUMS, f"has a line over {LINE_BYTES_MAX} bytes")
        for line in lines:
            self._check(line + b"\n")

    def finish(self) -> None:
        """It ends here. Raises ArchiveInvalid."""
        if self._held:
            raise ArchiveInvalid(SUMS, "ends within a line")
        own = self._sums.read_line()
        if own:
            raise ArchiveInvalid(_parsed(own)[0], f"is not listed in {SUMS}")

    def close(self) -> None:
        """Nothing of its own is open."""

    def _check(self, said: bytes) -> None:
        if not self._said_headers:
            self._said_headers = True
            if said != headers_line(self._headers_sha256):
                raise ArchiveInvalid(SUMS, "its line '# headers' is another one: a header was changed")
            return
        own = self._sums.read_line()
        if said != own:
            raise _difference(said, own)


def _difference(said: bytes, own: bytes) -> ArchiveInvalid:
    said_name, said_sha256 = _parsed(said)
    if not own:
        return ArchiveInvalid(said_name, f"is missing; {SUMS} lists it")
    own_name, own_sha256 = _parsed(own)
    if said_name == own_name:
        return ArchiveInvalid(own_name, f"has the SHA-256 {own_sha256}, and {SUMS} says {said_sha256}")
    said_place, own_place = place_of(said_name), place_of(own_name)
    if said_place is not None and own_place is not None and own_place < said_place:
        return ArchiveInvalid(own_name, f"is not listed in {SUMS}")
    return ArchiveInvalid(said_name, f"is missing; {SUMS} lists it")


def _parsed(line: bytes) -> tuple[str, str]:
    """Name and sum of a line. Raises ArchiveInvalid."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ArchiveInvalid(SUMS, f"has a line that is no checksum: {line[:80]!r}")
    name = match[3]
    if match[1]:
        name = re.sub(rb"\\[\\nr]", lambda found: _UNESCAPES[found[0]], name)
    return name.decode("utf-8", "surrogateescape"), match[2].decode()
