"""The few Linux calls that the standard library does not offer, and facts from /proc.

Loaded once in the spawn daemon; what it forks shares the pages.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_CAPABILITIES_MAX = 64

libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int, pointer: int = 0) -> None:
    """prctl(2) with one or two arguments. Raises OSError."""
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(pointer), zero, zero) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"prctl {option}")


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def signal_on_parent_death(number: int) -> None:
    """Receive signal `number` when the parent dies; kept over exec. A parent already dead sends none."""
    prctl(_PR_SET_PDEATHSIG, number)


def refuse_new_privileges() -> None:
    """No exec of this process or its descendants gains rights by setuid or file capabilities."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def unshare(kinds: int) -> None:
    """unshare(2): this process gets namespaces of its own of kinds CLONE_NEW*. Raises OSError."""
    if libc.unshare(ctypes.c_int(kinds)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")


def set_namespace(fd: int, kind: int) -> None:
    """setns(2): go into the namespace of kind CLONE_NEW* that `fd` stands for. Raises OSError."""
    if libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


def forbid_capabilities() -> None:
    """No program that this process executes has a capability, not even as root. Raises OSError."""
    for capability in range(_CAPABILITIES_MAX):
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # The kernel knows no more of them.
                return
            raise


def read_small_file(path: str) -> bytes:
    """The whole content of a file in /proc."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 16384):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def names_in(path: str) -> list[str]:
    """The names in a folder of /proc; the one place that spares each supervisor the weight of pathlib."""
    return os.listdir(path)  # noqa: PTH208


def close_all_fds(*, but: tuple[int, ...]) -> None:
    """Close every descriptor above 2 except these. What we open closes on exec; this is for the rest.

    Those below our limit, that is: in the spawn daemon, which began with none, and in what it forks.
    """
    first = 3
    for fd in sorted(but):
        if first < fd:
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


@functools.cache
def boot_id() -> str:
    """The id of this boot of the machine: pids and start times mean nothing in another one."""
    return read_small_file("/proc/sys/kernel/random/boot_id").decode().strip()


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name.

    [0] state, [1] parent, [17] threads, [19] start time in clock ticks since boot.

    Raises:
        FileNotFoundError, ProcessLookupError: No such process.
    """
    stat = read_small_file(f"/proc/{pid}/stat").decode(errors="replace")
    return stat[stat.rindex(")") + 2 :].split()


def start_ticks(pid: int) -> int:
    """When the process was forked, in clock ticks since boot: with its pid, its identity."""
    return int(stat_fields(pid)[19])


def own_start_ticks() -> int:
    """Those of this process, which its workers' records and groups all name."""
    return _first_read_start_ticks(os.getpid())


@functools.cache
def _first_read_start_ticks(own: int) -> int:
    """By the pid, for what we fork remembers what we do."""
    return start_ticks(own)
