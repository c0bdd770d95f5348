"""Every file operation of the store, in one place, so that a test can let any one of them fail.

    files.pwrite(fd, data, offset)      raises OSError, as the function of `os` does

The functions are the operating system's own: calling one through here costs
an attribute, nothing more. What a test replaces, it replaces in a subclass.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil

from watchglass.protocol.errors import StoreIo, StoreMissing

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
_LIBC = ctypes.CDLL(None, use_errno=True)


class Files:
    """The file operations that the store's promises rest on."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    stat = staticmethod(os.stat)
    access = staticmethod(os.access)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    truncate = staticmethod(os.ftruncate)
    fdatasync = staticmethod(os.fdatasync)
    fsync = staticmethod(os.fsync)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    listdir = staticmethod(os.listdir)
    rmtree = staticmethod(shutil.rmtree)

    def read_whole(self, path: str) -> bytes:
        """A whole file. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self.read_through(fd, self.fstat(fd).st_size)
        finally:
            self.close(fd)

    def read_through(self, fd: int, size_bytes: int, offset: int = 0) -> bytes:
        """Bytes of an open file, however many reads it takes; fewer where the file ends. Raises OSError."""
        pieces: list[bytes] = []
        while size_bytes and (piece := self.pread(fd, size_bytes, offset)):
            pieces.append(piece)
            offset += len(piece)
            size_bytes -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of it. Raises OSError, also when the system took a part only."""
        written = self.pwrite(fd, data, offset)
        if written != len(data):
            raise short_write(written, len(data))

    def write_new(self, path: str, data: bytes) -> None:
        """Make a whole file where none is. Raises OSError; then there may be a part of it."""
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            self.write_at(fd, data, 0)
        finally:
            self.close(fd)

    def replace(self, path: str, data: bytes, *, synced: bool = False) -> None:
        """Put a whole file in the place of another in one step. Raises OSError; then the old one stands.

        `synced`: the new bytes, and the name, are on the disk afterwards.
        """
        fresh = f"{path}.new"
        fd = self.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            self.write_at(fd, data, 0)
            if synced:
                self.fdatasync(fd)
        finally:
            self.close(fd)
        self.rename(fresh, path)
        if synced:
            self.sync_directory(path.rpartition("/")[0])

    def sync_file(self, path: str) -> None:
        """Bring a whole file to the disk, by its name. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def sync_directory(self, path: str) -> None:
        """Bring the names in a directory to the disk. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def sync_disk(self, path: str) -> None:
        """Bring all of the disk that a directory is on to it: for many files at once. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _LIBC.syncfs(fd):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), path)
        finally:
            self.close(fd)

    def make_directory(self, path: str) -> bool:
        """Make a private directory unless it is there; whether it was made. Raises OSError."""
        try:
            self.mkdir(path, DIRECTORY_MODE)
        except FileExistsError:
            return False
        return True


def short_write(written: int, of: int) -> OSError:
    """The system took a part only, which for a file means that there is no room for the rest."""
    return OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for more than {written} of {of} bytes")


def fault_of(operation: str, path: str, fault: OSError) -> StoreIo | StoreMissing:
    """The store's word for what the operating system refused."""
    reason = fault.strerror or str(fault)
    return (StoreMissing if fault.errno in (errno.ENOENT, errno.ENOTDIR) else StoreIo)(
        operation, path, reason
    )
