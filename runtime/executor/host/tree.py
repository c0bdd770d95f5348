"""Find, stop and reap everything below a process.

The root is a subreaper, so a descendant never leaves it: whose parent dies
becomes its child. "No child left to wait for" is therefore exactly "the tree is
empty", and `Reaper.empty` rests on nothing else.

A pid read from /proc may be somebody else's a moment later. So a signal is sent
by pidfd, and only after the process behind it proved to be in the tree.
"""

from __future__ import annotations

import contextlib
import os
import signal

from .linux import names_in, read_small_file, stat_fields

STOP_PASSES_MAX = 16
"""How often a tree is searched for processes born meanwhile before it is killed as it is."""

_GONE = (FileNotFoundError, ProcessLookupError)
_STATE, _PARENT, _THREADS = 0, 1, 17  # See `stat_fields`.


def children(pid: int) -> list[int]:
    """The children of `pid`, of all its threads; [] when it is gone."""
    found: list[int] = []
    try:
        threads = names_in(f"/proc/{pid}/task")
    except _GONE:
        return found
    for thread in threads:
        with contextlib.suppress(*_GONE):
            found += map(int, read_small_file(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _signal_child(pid: int, number: int, parents: set[int]) -> bool:
    """Signal `pid` if it lives and its parent is one of `parents`."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        fields = stat_fields(pid)
        if _is_dead(fields) or int(fields[_PARENT]) not in parents:
            return False
        signal.pidfd_send_signal(pidfd, number)
    except (*_GONE, PermissionError):  # Somebody else's, which in our tree only root could make it.
        return False
    finally:
        os.close(pidfd)
    return True


def _is_dead(fields: list[str]) -> bool:
    """A process whose first thread has ended shows as a zombie too, but its other threads live."""
    return fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1


def signal_descendants(root: int, number: int, *, skip: set[int] | None = None) -> set[int]:
    """Send `number` to all descendants of `root`; return the pids that received it.

    `skip`: children of the root that are left alone with all below them.
    """
    known = {root} | (skip or set())
    received = set()
    todo = [root]
    while todo:
        for pid in children(todo.pop()):
            if pid not in known and _signal_child(pid, number, known):
                received.add(pid)
                known.add(pid)
                todo.append(pid)
    return received


def kill_descendants(root: int, *, skip: set[int] | None = None) -> set[int]:
    """SIGKILL all descendants of `root`; return the pids that received it.

    They are stopped first, until no new one appears, so that a tree that forks
    without end cannot outrun us. Bounded work; call again until all are reaped.
    """
    stopped: set[int] = set()
    for _ in range(STOP_PASSES_MAX):
        newborn = signal_descendants(root, signal.SIGSTOP, skip=skip) - stopped
        if not newborn:
            break
        stopped |= newborn
    return signal_descendants(root, signal.SIGKILL, skip=skip)


def group_lives(group: int) -> bool:
    """Whether anyone is left in the process group; at worst a stranger's, which only costs the grace."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Reaper:
    """Collects the dead of one tree: the leader's status and what all of them used."""

    __slots__ = ("empty", "leader", "max_rss_bytes", "status", "stopped", "system_cpu_s", "user_cpu_s")

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.status: int | None = None  # As `os.waitstatus_to_exitcode` gives it: code, or minus the signal.
        self.empty = False
        self.stopped: list[tuple[int, int]] = []  # Who is traced and waits for us, with the wait status.
        self.user_cpu_s = 0.0
        self.system_cpu_s = 0.0
        self.max_rss_bytes = 0

    def reap(self) -> None:
        """Take all who are dead now; never waits."""
        while not self.empty:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self.empty = True
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                self.stopped.append((pid, status))
                continue
            if pid == self.leader:
                self.status = os.waitstatus_to_exitcode(status)
            self.user_cpu_s += usage.ru_utime
            self.system_cpu_s += usage.ru_stime
            self.max_rss_bytes = max(self.max_rss_bytes, usage.ru_maxrss * 1024)
