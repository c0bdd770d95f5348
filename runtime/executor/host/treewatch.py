"""What a tree uses now, read from /proc: for a host whose control groups do not tell.

It tells of what is there in that moment. Time that a process used whose parent
never waited for it is lost, and so is a peak between two looks.
"""

from __future__ import annotations

import os

from . import linux, tree

_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM, _RSS = 11, 12, 13, 14, 21  # See `linux.stat_fields`.
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_GONE = (FileNotFoundError, ProcessLookupError)


def descendants(root: int) -> list[int]:
    """All below `root`, itself not."""
    found: list[int] = []
    todo = [root]
    while todo:
        below = tree.children(todo.pop())
        found += below
        todo += below
    return found


def used(root: int) -> tuple[float, int]:
    """Seconds of CPU time and resident bytes of all below `root`.

    The time is with that of children that were waited for. A page that processes
    share counts for each, so the bytes are an upper bound.
    """
    ticks = pages = 0
    for pid in descendants(root):
        try:
            fields = linux.stat_fields(pid)
        except _GONE:
            continue
        ticks += sum(int(fields[at]) for at in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
        pages += int(fields[_RSS])
    return ticks / _TICKS_PER_S, pages * _PAGE_BYTES


def proportional_bytes(root: int) -> int:
    """Resident bytes of all below `root`, a shared page counted once; slower than `used`."""
    return sum(_proportional_bytes(pid) for pid in descendants(root))


def _proportional_bytes(pid: int) -> int:
    """0 for one that is gone, or not ours to look into."""
    try:
        rollup = linux.read_small_file(f"/proc/{pid}/smaps_rollup")
    except (*_GONE, PermissionError):
        return 0
    for line in rollup.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0
