"""Walks a workspace in the order of an archive: a folder, then what is in it, by the bytes of the names.

Constant memory but for the names of the folders that are open. Nothing is
followed and nothing is waited for: links are links, and pipes, sockets and
devices are only told of. Blocking; for threads.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from watchglass.protocol.workers import LeftOut

from .members import DEPTH_MAX, WORKSPACE, place_of, readable
from .tar import Header, Kind

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NS_PER_US: Final = 1000
_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class Found(NamedTuple):
    """A member, and a descriptor to read its content by, which whoever gets it closes."""

    header: Header
    descriptor: int | None


def walk(directory: Path) -> Iterator[Found | LeftOut]:
    """Every member of a worker's workspace; what cannot be one is left out, and the reason is told."""
    top = directory / WORKSPACE
    if top.is_symlink() or not top.is_dir():
        return
    pending = [WORKSPACE]
    while pending:
        name = pending.pop()
        found = _look(directory, name)
        yield found
        if isinstance(found, Found) and found.header.kind is Kind.FOLDER:
            try:
                inside = sorted(os.listdir(os.fsencode(directory / name)), reverse=True)  # noqa: PTH208 - Bytes.
            except OSError as fault:
                yield _left_out(name, f"what is in it: {fault.strerror}")
            else:
                pending += [f"{name}/{os.fsdecode(each)}" for each in inside]


def opened(path: Path, name: str) -> Found:
    """A regular file as a member. Raises OSError, also for what is none."""
    descriptor = os.open(path, _OPEN_FLAGS)
    said = os.fstat(descriptor)
    if not stat.S_ISREG(said.st_mode):
        os.close(descriptor)
        raise OSError(0, "is no regular file", str(path))
    return Found(_header(name, Kind.FILE, said, size_bytes=said.st_size), descriptor)


def _look(directory: Path, name: str) -> Found | LeftOut:
    path = directory / name
    if place_of(name) is None:
        return _left_out(name, f"deeper than {DEPTH_MAX} folders")
    try:
        said = path.lstat()
        if stat.S_ISDIR(said.st_mode):
            return Found(_header(name, Kind.FOLDER, said), None)
        if stat.S_ISLNK(said.st_mode):
            target = os.readlink(path)  # noqa: PTH115 - As it is: a Path would tidy it up.
            return Found(_header(name, Kind.LINK, said, target=target), None)
        if stat.S_ISREG(said.st_mode):
            return opened(path, name)
    except OSError as fault:
        return _left_out(name, fault.strerror or str(fault))
    return _left_out(name, _KINDS.get(stat.S_IFMT(said.st_mode), "of no known kind"))


def _header(name: str, kind: Kind, said: os.stat_result, *, size_bytes: int = 0, target: str = "") -> Header:
    return Header(
        name=name,
        kind=kind,
        size_bytes=size_bytes,
        mode=stat.S_IMODE(said.st_mode),
        modified_us=said.st_mtime_ns // _NS_PER_US,
        target=target,
    )


def _left_out(name: str, reason: str) -> LeftOut:
    return LeftOut(name=readable(name), reason=reason)
