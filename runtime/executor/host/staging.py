"""Mounts that only a worker-to-be sees, so that another uid reaches what lies in private folders.

A store is its server's alone (0700), and so may be the folder of a Python
environment. bubblewrap runs as the worker's uid and walks paths. Root therefore
clones the mounts that it needs (open_tree(2)), before the uid is given up, and
hangs them into an empty file system that lies over STAGE in a mount namespace of
this one process. The host sees nothing of it, and it ends with the process.

A worker without a sandbox walks paths itself, so what is its own keeps its path: the
empty file system lies over the topmost folder that is closed to it.
"""

from __future__ import annotations

import ctypes
import os

from .linux import libc, unshare

STAGE = "/tmp"  # noqa: S108 - a mount point that bubblewrap itself needs; nothing in it is looked at.

_OPEN_TREE, _MOVE_MOUNT = 428, 429  # The same on every architecture.
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_SLAVE = 2, 4, 0x4000, 1 << 19


def clone_of(folder: int) -> int:
    """A descriptor of a copy of the mount behind a descriptor, from there downwards. Raises OSError."""
    flags = _OPEN_TREE_CLONE | _AT_EMPTY_PATH | _AT_RECURSIVE | os.O_CLOEXEC
    return _checked(
        libc.syscall(
            ctypes.c_long(_OPEN_TREE), ctypes.c_long(folder), ctypes.c_char_p(b""), ctypes.c_ulong(flags)
        ),
        "open_tree",
    )


def stage(clones: dict[str, int]) -> dict[str, str]:
    """Hang each clone under its name into a fresh STAGE of this process alone; return their paths.

    Raises:
        OSError: We are not allowed to mount, or have no STAGE.
    """
    _empty(STAGE)
    paths = {}
    for name, clone in clones.items():
        paths[name] = f"{STAGE}/{name}"
        os.mkdir(paths[name])  # noqa: PTH102
        _attach(clone, paths[name])
    return paths


def stage_in_place(closed: str, folder: int, path: str, script: tuple[int, str] | None) -> None:
    """Empty the folder `closed`, for this process alone, of all but a folder and a file below it.

    Both are descriptors, each with the path that it has there. Raises OSError, as `stage`.
    """
    clone = clone_of(folder)
    clone_of_script = None if script is None else clone_of(script[0])
    before = os.umask(0o022)
    try:
        _empty(closed)
        os.makedirs(path)  # noqa: PTH103 - pathlib would weigh on every supervisor.
        _attach(clone, path)
        if clone_of_script is not None and script is not None:
            os.close(os.open(script[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
            _attach(clone_of_script, script[1])
    finally:
        os.umask(before)


def _empty(folder: str) -> None:
    """From here on this process has its own mounts, and nothing in `folder`."""
    unshare(_CLONE_NEWNS)
    _mount(b"none", b"/", b"", _MS_REC | _MS_SLAVE)  # Or the host would get our mounts too.
    _mount(b"tmpfs", os.fsencode(folder), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0755,size=64k")


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes | None = None) -> None:
    _checked(libc.mount(source, target, kind, ctypes.c_ulong(flags), options), "mount")


def _attach(clone: int, path: str) -> None:
    _checked(
        libc.syscall(
            ctypes.c_long(_MOVE_MOUNT),
            ctypes.c_long(clone),
            ctypes.c_char_p(b""),
            ctypes.c_long(_AT_FDCWD),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.c_ulong(_MOVE_MOUNT_F_EMPTY_PATH),
        ),
        "move_mount",
    )


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), call)
    return result
