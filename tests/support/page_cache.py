"""What of a file is in memory alone: cachestat(2) says it of the very pages, from Linux 6.5 on."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_CACHESTAT = 451
"""The same on every architecture but alpha."""

_CALL = ctypes.CDLL(None, use_errno=True).syscall


class _Range(ctypes.Structure):
    """`struct cachestat_range`; a length of 0 is all from the offset on."""

    _fields_ = [("off", ctypes.c_uint64), ("len", ctypes.c_uint64)]


class _Pages(ctypes.Structure):
    """`struct cachestat`."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("nr_cache", "nr_dirty", "nr_writeback", "nr_evicted", "nr_recently_evicted")
    ]


def is_unwritten(path: Path) -> bool:
    """Whether the disk lacks some of a file's bytes. Raises OSError: the kernel does not tell."""
    fd = os.open(path, os.O_RDONLY)
    try:
        pages = _pages(fd)
    finally:
        os.close(fd)
    return bool(pages.nr_dirty + pages.nr_writeback)


def why_untold(folder: Path) -> str | None:
    """Why nobody can see here whether a file was synced, or None: one can."""
    trial = folder / "synced-or-not"
    trial.write_bytes(b"not yet")
    try:
        told = is_unwritten(trial)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        return f"cachestat(2): {error.strerror}"
    finally:
        trial.unlink()
    return None if told else "this file system writes nothing later, or does not count it"


def _pages(fd: int) -> _Pages:
    pages = _Pages()
    if _CALL(_CACHESTAT, ctypes.c_uint(fd), ctypes.byref(_Range()), ctypes.byref(pages), ctypes.c_uint(0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pages
