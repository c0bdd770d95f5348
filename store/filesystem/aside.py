"""Where a repair puts what is broken, and how it writes: nothing is ever gone in between.

    broken/<when>/<path inside the runtime's directory>

A file that is to be written anew is copied there first, whole, and the copy is
on the disk before anything else happens. The new one is written beside the old
one, brought to the disk, and takes its name in one step. So a kill at any point
leaves the old file or the new one, and the old bytes in any case.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from .files import FILE_MODE, Files
from .layout import Layout

_COPIED_BYTES = 1 << 20


class Aside:
    """One repair's folder for what is broken, made when it is needed. Every method raises OSError."""

    def __init__(self, files: Files, layout: Layout, now_us: int) -> None:
        self.files = files
        self.now_us = now_us
        self._base = str(layout.path)
        self.directory = layout.salvaged(now_us)
        self.is_used = False

    def copy(self, path: str) -> str:
        """Keep a whole file as it is; where."""
        source = self.files.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = self._place_for(path)
            self._write(target, self._windows(source))
        finally:
            self.files.close(source)
        self.files.sync_directory(target.rpartition("/")[0])
        return target

    def move(self, path: str) -> str:
        """Take a file or a folder away; where it is now."""
        target = self._place_for(path)
        self.files.rename(path, target)
        self.files.sync_directory(target.rpartition("/")[0])
        self.files.sync_directory(path.rpartition("/")[0])
        return target

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        """Put a whole file in a place; what is there is copied before."""
        with suppress(FileNotFoundError):
            self.copy(path)
        fresh = f"{path}.new"
        self._write(fresh, pieces)
        self.files.rename(fresh, path)
        self.files.sync_directory(path.rpartition("/")[0])

    def shown(self, path: str) -> str:
        """A path inside the runtime's directory, as a message names it."""
        return os.path.relpath(path, self._base)

    def place_of(self, path: str) -> str:
        """Where a file of the runtime's directory would be put."""
        return f"{self.directory}/{self.shown(path)}"

    def _write(self, path: str, pieces: Iterable[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = self.files.open(path, flags, FILE_MODE)
        try:
            offset = 0
            for piece in pieces:
                self.files.write_at(fd, piece, offset)
                offset += len(piece)
            self.files.fsync(fd)
        finally:
            self.files.close(fd)

    def _windows(self, fd: int) -> Iterable[bytes]:
        offset = 0
        while piece := self.files.pread(fd, _COPIED_BYTES, offset):
            yield piece
            offset += len(piece)

    def _place_for(self, path: str) -> str:
        self.is_used = True
        target = self.place_of(path)
        made = self._base
        for part in os.path.relpath(target, self._base).split("/")[:-1]:
            above, made = made, f"{made}/{part}"
            if self.files.make_directory(made):
                self.files.sync_directory(above)
        return target
