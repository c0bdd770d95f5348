"""A worker's folders by descriptor: no name that the worker can change is followed twice."""

from __future__ import annotations

import errno
import os

_WALK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(directory: int, path: str) -> int:
    """The folder `path` below the folder `directory`, without a symbolic link on the way.

    Raises:
        OSError: A part is missing, is no folder (ENOTDIR; also for a symbolic link), or leads upwards.
    """
    at = os.open(".", _WALK, dir_fd=directory)
    for part in path.split("/"):
        if part in ("", "."):
            continue
        try:
            if part == "..":
                raise PermissionError(errno.EPERM, "leads upwards", path)
            below = os.open(part, _WALK, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def hand_over(folder: int, uid: int) -> None:
    """Make a folder and all in it the property of `uid` (and its group), unless it is already.

    Links are changed themselves, never what they point to. What a former owner
    left is gone through once, when its worker does not run. Raises OSError.
    """
    if os.fstat(folder).st_uid == uid:
        return
    for _path, folders, files, at in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        for name in folders + files:
            os.chown(name, uid, uid, dir_fd=at, follow_symlinks=False)
    os.fchown(folder, uid, uid)
