"""What happens inside a sandbox, as seen from outside: who is the program, and how it ended.

    supervisor -> bubblewrap -> init of the namespace ("child-pid") -> the program

Without a pid namespace there is no init, and child-pid is the program. bubblewrap
tells 128 + n for a signal, as a shell does. The kernel tells better
(PIDFD_GET_INFO, Linux 6.15) of a process whose descriptor was opened in time. To be
in time, and to know when the program runs, we trace the init until then; where that
is not allowed, we look as fast as we can, and may miss one that dies at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import struct
import time

from . import linux, tracing, tree, verify
from .bubblewrap import NAME
from .cgroup import Groups

CATCH_S_MAX = 0.01
"""How long a supervisor that may not trace does nothing but look out for the program."""

_GET_INFO = 0xC040FF0B  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info of 64 bytes)
_INFO_ASKED = 0xF
_INFO_EXIT = 1 << 3
_INFO = struct.Struct("<Q52xi")  # mask, what does not matter here, exit_code


class Inside:
    """Follows bubblewrap's status pipe. `init` and `leader` are 0 until they are known.

    `verified` is what `verify.py` found when the program began.
    """

    __slots__ = (
        "_groups",
        "_has_init",
        "_init_pidfd",
        "_is_traced",
        "_leader_pidfd",
        "_rest",
        "_told_code",
        "init",
        "leader",
        "pipe",
        "verified",
    )

    def __init__(self, pipe: int, groups: Groups, *, has_init: bool) -> None:
        """`pipe`, non-blocking, is ours now."""
        self._groups = groups
        self.pipe = pipe
        self.init = 0
        self.leader = 0
        self._has_init = has_init
        self._init_pidfd: int | None = None
        self._leader_pidfd: int | None = None
        self._told_code: int | None = None
        self._is_traced = False
        self.verified: dict[str, object] | None = None
        self._rest = b""

    def read(self) -> bool:
        """Take what bubblewrap said; False when it will say no more."""
        try:
            part = os.read(self.pipe, 4096)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            self._note(json.loads(line))
        return bool(part)

    def bound_processes(self, most: int) -> None:
        """Before its go: the kernel counts those of a user namespace by themselves. Raises OSError."""
        resource.prlimit(self.init, resource.RLIMIT_NPROC, (most, most))

    def trace(self) -> None:
        """Before its go: have the program stop at its start."""
        self._is_traced = tracing.seize(self.init)

    def on_stop(self, pid: int, status: int) -> None:
        """A traced one stopped; look at it, and let it run."""
        event = tracing.event_of(status)
        if event == tracing.FORK:
            self._take_leader(tracing.forked_by(pid))
            tracing.detach(pid)
        elif event == tracing.EXEC:
            self._take_leader(pid)
            self.verified = verify.in_force(pid, self._groups)
            tracing.detach(pid)
        else:
            tracing.go_on(pid, status)

    def look(self) -> bool:
        """Whether the program was executed. Never true of what failed before."""
        if (
            self.verified is None
            and not self._is_traced
            and self._find_leader()
            and _is_executed(self.leader)
        ):
            self.verified = verify.in_force(self.leader, self._groups)
        return self.verified is not None or self._told_code is not None

    def catch_leader(self) -> None:
        """Find the program right after its go, if nobody tells us."""
        until = time.monotonic() + CATCH_S_MAX
        while not self._is_traced and not self._find_leader() and time.monotonic() < until:
            os.sched_yield()

    @property
    def needs_looks(self) -> bool:
        """Whether nothing will wake us when the program runs."""
        return not self._is_traced

    def _find_leader(self) -> bool:
        if not self.leader and self.init:
            for pid in tree.children(self.init) if self._has_init else [self.init]:
                if not self._has_init or _is_first(pid):
                    self._take_leader(pid)
        return bool(self.leader)

    def _take_leader(self, pid: int) -> None:
        if pid and self._leader_pidfd is None:
            self._leader_pidfd = _open(pid)
            self.leader = pid if self._leader_pidfd is not None else 0

    def group_exists(self) -> bool:
        """Whether the number of the program's group is still its own."""
        return self._init_pidfd is not None and not _is_dead(self._init_pidfd)

    def status(self, outer: int) -> int:
        """How the program ended: its code, or minus its signal.

        `outer` is how bubblewrap did: the best that is left, when the program
        was killed together with it.
        """
        known = None if self._leader_pidfd is None else exit_status(self._leader_pidfd)
        if known is not None:
            return os.waitstatus_to_exitcode(known)
        return outer if self._told_code is None else self._told_code

    def close(self) -> None:
        for fd in (self.pipe, self._init_pidfd, self._leader_pidfd):
            if fd is not None:
                os.close(fd)

    def _note(self, told: dict[str, int]) -> None:
        if "child-pid" in told:
            self._init_pidfd = _open(told["child-pid"])
            self.init = told["child-pid"] if self._init_pidfd is not None else 0
        if "exit-code" in told:
            self._told_code = told["exit-code"]


def exit_status(pidfd: int) -> int | None:
    """The wait status of a process that was reaped by whoever its parent was.

    None: it was not yet, or the kernel does not tell.
    """
    asked = bytearray(_INFO.pack(_INFO_ASKED, 0))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, asked)
    except OSError:
        return None
    mask, status = _INFO.unpack(asked)
    return int(status) if mask & _INFO_EXIT else None


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _is_dead(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _is_executed(pid: int) -> bool:
    """A process between two programs has no command line, nor has a dead one."""
    try:
        first, _, _ = linux.read_small_file(f"/proc/{pid}/cmdline").partition(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return first not in (b"", NAME.encode())


def _is_first(pid: int) -> bool:
    """Whether it is the init's own child, and not an orphan that came to it."""
    try:
        status = linux.read_small_file(f"/proc/{pid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(line.startswith(b"NSpid:") and line.split()[-1] == b"2" for line in status.splitlines())
