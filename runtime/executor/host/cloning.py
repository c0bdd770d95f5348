"""A fork whose child is born in a control group, by clone3(2).

To move a process afterwards makes the kernel wait until nobody on any CPU looks at
the old state of things: ten milliseconds and more. A birth waits for nobody.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

_CLONE3 = 435  # The same on every architecture.
_INTO_CGROUP = 1 << 33
_ARGUMENTS = struct.Struct("=11Q")  # struct clone_args, as of Linux 5.7.

_python = ctypes.pythonapi
_libc = ctypes.PyDLL(None, use_errno=True)  # It keeps the interpreter's lock, as a fork has to.
_libc.syscall.restype = ctypes.c_long


def fork_into(group: int) -> int:
    """As `os.fork`; the child is in the v2 group whose folder is behind the descriptor.

    For a process with a single thread: what glibc puts in order for others stays as it is.

    Raises:
        OSError: The kernel cannot or may not; or there is no further process. Nothing was forked.
    """
    # As bytes, which the kernel only reads: a buffer of ctypes would make a type of its own each time.
    arguments = _ARGUMENTS.pack(_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD.value, 0, 0, 0, 0, 0, group)
    size = ctypes.c_size_t(_ARGUMENTS.size)
    _python.PyOS_BeforeFork()
    pid = int(_libc.syscall(ctypes.c_long(_CLONE3), arguments, size))
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    _python.PyOS_AfterFork_Parent()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "clone3")
    return pid
