"""Seeing a process become another program, by ptrace(2), without a moment to miss it in.

A tracee stops at its fork and at its exec, until we have looked and let it go on.
What the kernel may refuse to us (a container without CAP_SYS_PTRACE, Yama's
ptrace_scope) is asked for once, by `seize`; who is refused has to look by itself.
"""

from __future__ import annotations

import ctypes
import os

from .linux import libc

FORK, EXEC, STOP = 1, 4, 128
"""The events of a stop, see `event_of`: STOP is also a traced child's first."""

_SEIZE, _CONTINUE, _DETACH, _GET_MESSAGE = 0x4206, 7, 17, 0x4201
_TRACE_FORK, _TRACE_EXEC, _EXIT_KILL = 1 << 1, 1 << 4, 1 << 20

libc.ptrace.restype = ctypes.c_long


def seize(pid: int) -> bool:
    """Trace `pid`, and what it forks, until it is detached; both die with us. False: we may not."""
    return _ptrace(_SEIZE, pid, 0, _TRACE_FORK | _TRACE_EXEC | _EXIT_KILL)


def event_of(status: int) -> int:
    """Of a stop's wait status; 0: a signal is about to be delivered."""
    return status >> 16


def forked_by(pid: int) -> int:
    """Whom `pid`, which stopped at a fork, has forked; 0 when it was killed meanwhile."""
    child = ctypes.c_ulong(0)
    libc.ptrace(ctypes.c_long(_GET_MESSAGE), ctypes.c_long(pid), None, ctypes.byref(child))
    return child.value


def go_on(pid: int, status: int) -> None:
    """Let a stopped one run, and have the signal that it stopped for, if it was one."""
    _ptrace(_CONTINUE, pid, 0, 0 if event_of(status) else os.WSTOPSIG(status))


def detach(pid: int) -> None:
    """Let a stopped one run, and trace it no more."""
    _ptrace(_DETACH, pid, 0, 0)


def _ptrace(request: int, pid: int, address: int, data: int) -> bool:
    """A tracee that was killed meanwhile is no error: its end comes by wait."""
    arguments = (ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(address), ctypes.c_void_p(data))
    return bool(libc.ptrace(*arguments) == 0)
