"""Folders that a file system is asked to spread over the disk: those of the workers.

ext4 makes a folder's files near the folder, and a folder near its parent; and in
each place it steps over the inodes that were deleted there in the last minutes, one
by one, for each file that it makes. With all workers in one place a server that
forgets workers as fast as it makes them would pay more for that than for anything
else that it does on the disk. Folders below a *top* folder are put where few others
are (chattr(1), the attribute T), so that there is little to step over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

_LONG = struct.Struct("l")
_GET = 0x80006601 | _LONG.size << 16  # FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, ioctl_iflags(2).
_SET = 0x40006602 | _LONG.size << 16
_TOP = 0x20000  # FS_TOPDIR_FL.
_FLAGS = struct.Struct("i")  # What the kernel reads and writes, whatever the request's number says.


def spread_folders_in(path: str) -> None:
    """Ask that the folders made in this one be spread; on a file system that does not, nothing happens."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = _flags(fd)
            if not flags & _TOP:
                fcntl.ioctl(fd, _SET, _FLAGS.pack(flags | _TOP).ljust(_LONG.size, b"\0"))
        finally:
            os.close(fd)


def _flags(fd: int) -> int:
    return int(_FLAGS.unpack_from(fcntl.ioctl(fd, _GET, bytes(_LONG.size)))[0])
