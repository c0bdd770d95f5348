"""Whose rights a worker has: a uid of its own, when the server is root and could give it one."""

from __future__ import annotations

import os

_SEARCH = 0o001


def become(uid: int) -> None:
    """Be `uid`, with the group of the same number and no other, for good.

    Clears the signal on the parent's death, see prctl(2). Raises OSError.
    """
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def reachable_by(uid: int, path: str) -> bool:
    """Whether `uid`, which is in no group but its own, may walk every folder above `path`.

    As the mode bits say; access lists are not looked at, so it may say no where one says yes.
    """
    return closed_above(uid, path) is None


def closed_above(uid: int, path: str) -> str | None:
    """The topmost folder above `path` that `uid` may not walk; None: it may walk them all."""
    closed = None
    at = os.path.realpath(path)
    while at != "/":
        at = os.path.dirname(at)  # noqa: PTH120
        if not _may_search(uid, at):
            closed = at
    return closed


def _may_search(uid: int, folder: str) -> bool:
    try:
        facts = os.stat(folder)  # noqa: PTH116
    except OSError:
        return False
    shift = 6 if facts.st_uid == uid else 3 if facts.st_gid == uid else 0
    return bool(facts.st_mode >> shift & _SEARCH)
