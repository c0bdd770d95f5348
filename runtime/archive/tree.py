"""Puts a workspace back on the disk, whatever its archive says: nothing is written outside its folder.

Every name is resolved below the descriptor of a folder that was made here, so no
link, and nobody who moves folders meanwhile, leads a write elsewhere. Folders
get their mode and time when everything in them is there.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from watchglass.protocol.errors import ArchiveInvalid

from .members import stays_inside
from .tar import MODE_BITS, Header, Kind

_NS_PER_US: Final = 1000
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


class _Open(NamedTuple):
    """A folder that may get more."""

    parts: tuple[str, ...]
    descriptor: int
    header: Header


class Tree:
    """Makes what comes in order: a folder, then what is in it. Call `close` in any case.

    Everything raises OSError, and ArchiveInvalid where the order is broken.
    """

    def __init__(self, base: str) -> None:
        """`base`: the folder in which the workspace is made."""
        self._base = os.open(base, _FOLDER_FLAGS)
        self._stack: list[_Open] = []

    def folder(self, header: Header) -> None:
        """Make a folder, and go into it."""
        parts, parent = self._enter_parent(header)
        os.mkdir(parts[-1], _PRIVATE_FOLDER, dir_fd=parent)
        self._stack.append(_Open(parts, os.open(parts[-1], _FOLDER_FLAGS, dir_fd=parent), header))

    def file(self, header: Header) -> int:
        """Make an empty file: a descriptor to write it by, which `settle` and then the caller closes."""
        parts, parent = self._enter_parent(header)
        return os.open(parts[-1], _FILE_FLAGS, _PRIVATE_FILE, dir_fd=parent)

    def link(self, header: Header) -> bool:
        """Make a symbolic link, unless it leads out of the workspace; whether it was made."""
        parts, parent = self._enter_parent(header)
        if not stays_inside(len(parts) - 2, header.target):
            return False
        os.symlink(header.target, parts[-1], dir_fd=parent)
        times = _times(header)
        os.utime(parts[-1], ns=times, dir_fd=parent, follow_symlinks=False)
        return True

    def finish(self) -> None:
        """Nothing follows: leave every folder."""
        while self._stack:
            self._leave()

    def close(self) -> None:
        """Let the folders go, as they are."""
        for folder in self._stack:
            os.close(folder.descriptor)
        self._stack.clear()
        os.close(self._base)

    def _enter_parent(self, header: Header) -> tuple[tuple[str, ...], int]:
        """The names of a member, and the folder that it stands in; the deeper ones are complete now."""
        parts = tuple(header.name.split("/"))
        while self._stack and self._stack[-1].parts != parts[: len(self._stack[-1].parts)]:
            self._leave()
        last = self._stack[-1] if self._stack else None
        if (last.parts if last else ()) != parts[:-1]:
            raise ArchiveInvalid(header.name, "comes without the folder that it stands in")
        return parts, self._base if last is None else last.descriptor

    def _leave(self) -> None:
        folder = self._stack.pop()
        try:
            settle(folder.descriptor, folder.header)
        finally:
            os.close(folder.descriptor)


def settle(descriptor: int, header: Header) -> None:
    """Give what is complete its mode and its time. Raises OSError."""
    if header.kind is not Kind.LINK:
        os.fchmod(descriptor, header.mode & MODE_BITS)
        os.utime(descriptor, ns=_times(header))


def _times(header: Header) -> tuple[int, int]:
    return header.modified_us * _NS_PER_US, header.modified_us * _NS_PER_US
