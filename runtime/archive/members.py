"""What an archive of a worker has in it, and in which order.

    format.json       the format's version, and whose archive it is
    worker.json       the catalog's record; no secret is in it
    events.jsonl      the journal: the envelopes as observers receive them, one a line
    view.json         what the transcript was before retention dropped its events; only then
    stdout.log, stderr.log, output.idx      raw output, byte for byte; as far as there is any
    workspace, workspace/…                  its files; a folder before what is in it, in byte order
    left-out.jsonl    what the workspace had that a tar cannot keep: {"name", "reason"}
    SHA256SUMS        of every file before it, for `sha256sum -c`; "# headers" covers the rest

Each at most once. So an export is written from the front to the end with nothing
known ahead, and an import knows at the front whether it takes this worker at all,
and at the end whether it has all of it.
"""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal

from pydantic import Field

from watchglass.protocol.base import Wire
from watchglass.protocol.cursor import SEQ_MAX
from watchglass.protocol.errors import ArchiveInvalid
from watchglass.protocol.identity import RuntimeId, WorkerId

from .tar import Header, Kind

FORMAT: Final = 1
NOTE, RECORD, EVENTS, VIEW = "format.json", "worker.json", "events.jsonl", "view.json"
RAW: Final = ("stdout.log", "stderr.log", "output.idx")
WORKSPACE, LEFT_OUT, SUMS = "workspace", "left-out.jsonl", "SHA256SUMS"
NOTE_BYTES_MAX: Final = 64 << 10
DOCUMENT_BYTES_MAX: Final = 8 << 20
"""Of worker.json, and of view.json."""
NAME_BYTES_MAX: Final = 255
TARGET_BYTES_MAX: Final = 4095
"""Where a symbolic link may lead: a path (path_resolution(7))."""
DEPTH_MAX: Final = 128
"""How deep folders of a workspace may be nested."""

_ORDER: Final = (NOTE, RECORD, EVENTS, VIEW, *RAW, WORKSPACE, LEFT_OUT, SUMS)
_REQUIRED: Final = (NOTE, RECORD, EVENTS, LEFT_OUT, SUMS)
_BYTES_MAX: Final = {NOTE: NOTE_BYTES_MAX, RECORD: DOCUMENT_BYTES_MAX, VIEW: DOCUMENT_BYTES_MAX}
Place = tuple[int, tuple[bytes, ...]]


class FormatNote(Wire):
    """The first member: of which format the others are. Newer formats have another number."""

    format: Literal[1] = FORMAT
    runtime_id: RuntimeId
    worker_id: WorkerId
    exported_at: str
    version: str
    trimmed_through: Annotated[int, Field(ge=0, le=SEQ_MAX)]


class Order:
    """Checks that members come as an archive has them. Pure."""

    def __init__(self) -> None:
        self._last: Place = (-1, ())

    def check(self, header: Header) -> None:
        """The next member. Raises ArchiveInvalid."""
        name = header.name
        place = place_of(name)
        if place is None:
            raise ArchiveInvalid(name, _why_not(name))
        wanted = self._next_required()
        if place == self._last:
            raise ArchiveInvalid(name, "is there twice")
        if wanted is not None and place > (_ORDER.index(wanted), ()):
            raise ArchiveInvalid(wanted, f"is missing, for {name!r} comes after it")
        if place < self._last:
            raise ArchiveInvalid(name, "comes too late; the order of members is fixed")
        if not place[1]:
            _check_form(header)
        self._last = place

    def finish(self) -> None:
        """There are no more. Raises ArchiveInvalid."""
        wanted = self._next_required()
        if wanted is not None:
            raise ArchiveInvalid(wanted, "is missing")

    def _next_required(self) -> str | None:
        after = (name for name in _REQUIRED if _ORDER.index(name) > self._last[0])
        return next(after, None)


def place_of(name: str) -> Place | None:
    """Where a member belongs: places grow from member to member. None: nowhere."""
    if name in _ORDER:
        return _ORDER.index(name), ()
    parts = os.fsencode(name).split(b"/")
    if parts[0] != WORKSPACE.encode() or len(parts) > DEPTH_MAX:
        return None
    if any(part in {b"", b".", b".."} or len(part) > NAME_BYTES_MAX for part in parts):
        return None
    return _ORDER.index(WORKSPACE), tuple(parts[1:])


def readable(name: str) -> str:
    """A name as JSON can have it: a byte that is no UTF-8 is written as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def stays_inside(folders: int, target: str) -> bool:
    """Whether a link that stands so many folders below the workspace leads to a place in it.

    A `..` behind a name is refused too: where it leads depends on what that name is.
    """
    parts = target.split("/")
    names = [part for part in parts if part not in {"", "."}]
    ups = next((place for place, part in enumerate(names) if part != ".."), len(names))
    return bool(target) and parts[0] != "" and ups <= folders and ".." not in names[ups:]


def _check_form(header: Header) -> None:
    wanted = Kind.FOLDER if header.name == WORKSPACE else Kind.FILE
    if header.kind is not wanted:
        raise ArchiveInvalid(header.name, f"is a {header.kind}, where a {wanted} belongs")
    most = _BYTES_MAX.get(header.name)
    if most is not None and header.size_bytes > most:
        raise ArchiveInvalid(header.name, f"has {header.size_bytes} bytes, and {most} is the most")


def _why_not(name: str) -> str:
    parts = name.split("/")
    if not parts[0] or ".." in parts:
        return "leads out of the worker's folder"
    if len(parts) > DEPTH_MAX or any(len(os.fsencode(part)) > NAME_BYTES_MAX for part in parts):
        return f"is nested deeper than {DEPTH_MAX} folders, or has a name over {NAME_BYTES_MAX} bytes"
    return "is no member of an archive of a worker"
