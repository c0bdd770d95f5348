"""The system calls that no worker needs and every escape does, refused by a filter in the kernel.

The filter is classic BPF (seccomp(2), linux/bpf_common.h), built here and handed
to bubblewrap, or loaded by the child itself. It denies, it does not allow: what is
not listed passes. Refused calls fail with EPERM, as for anyone without the rights,
so programs take their usual way around; clone3 fails with ENOSYS, since its flags
lie in memory that no filter can read, and libraries then fall back to clone.

A call in another architecture's numbers (x32, 32 bit) kills: nothing honest makes one.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct

from .linux import libc, prctl

_NUMBERS: dict[str, tuple[int | None, int | None]] = {  # x86_64, aarch64 (asm/unistd.h)
    # What other processes hold.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "perf_event_open": (298, 241),
    # Keyrings, which belong to the user and not to the worker.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Ways into the kernel with a long history of holes.
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    # Another view of the file system.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    # Other namespaces; clone is looked at below.
    "setns": (308, 268),
    "unshare": (272, 97),
    # The machine itself.
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "iopl": (172, None),
    "ioperm": (173, None),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_IOCTL = (16, 29)
_SOCKET = (41, 198)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
_X32_BIT = 0x40000000

_NAMESPACES = 0x7E020080  # CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
_IOCTLS = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into a terminal on somebody's behalf.
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16

_NUMBER_AT, _ARCH_AT = 0, 4  # In struct seccomp_data.
_LOAD, _EQUAL, _GREATER_OR_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

_STEP_BYTES = 8
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2


class Unsupported(Exception):
    """No filter is known for this machine's architecture."""


def build(machine: str, *, internet: bool = True) -> bytes:
    """The filter for `machine` (as uname(2) names it), an array of struct sock_filter.

    Sockets of the families unix, inet, inet6 and netlink may be made; without `internet`, of unix alone.

    Raises:
        Unsupported: The architecture is neither x86_64 nor aarch64.
    """
    refused = call_numbers(machine)
    column, architecture = _ARCHITECTURES[machine]
    program = [
        _step(_LOAD, _ARCH_AT),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [_step(_GREATER_OR_EQUAL, _X32_BIT, 0, 1), _step(_RETURN, _KILL)]
    for number in refused.values():
        program += _when(number, [_refuse(errno.EPERM)])
    program += _when(_CLONE3[column], [_refuse(errno.ENOSYS)])
    program += _when(_CLONE[column], _unless_any_bit(_NAMESPACES, errno.EPERM))
    program += _when(_IOCTL[column], _unless_one_of(_IOCTLS, errno.EPERM))
    families = (_UNIX, _INET, _INET6, _NETLINK) if internet else (_UNIX,)
    program += _when(_SOCKET[column], _only_one_of(families, errno.EAFNOSUPPORT))
    program.append(_step(_RETURN, _ALLOW))
    return b"".join(program)


def call_numbers(machine: str) -> dict[str, int]:
    """The calls that are refused whatever their arguments are. Raises Unsupported."""
    if machine not in _ARCHITECTURES:
        raise Unsupported(machine)
    column, _ = _ARCHITECTURES[machine]
    return {name: number for name, numbers in _NUMBERS.items() if (number := numbers[column]) is not None}


@functools.cache
def own_filter(*, internet: bool = True) -> bytes:
    """The filter for this machine. Raises Unsupported."""
    return build(os.uname().machine, internet=internet)


def load(program: bytes) -> None:
    """Put this process and all that it makes under the filter, for good.

    Raises:
        OSError: The kernel does not take it; it also wants no_new_privs to be set before.
    """
    steps = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // _STEP_BYTES, ctypes.addressof(steps))
    fprog = ctypes.create_string_buffer(described)  # Named, so that it lives through the call.
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(fprog))


def denied_call_is_refused() -> bool:
    """Whether a call from the list fails: unshare(2) of nothing, which anybody else may do."""
    number = call_numbers(os.uname().machine)["unshare"]
    failed = libc.syscall(ctypes.c_long(number), ctypes.c_long(0)) != 0
    return failed and ctypes.get_errno() == errno.EPERM


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """`body` for one call, which must end in a return; others pass by it."""
    return [_step(_EQUAL, number, 0, len(body)), *body]


def _argument(index: int) -> bytes:
    """Load the low half of an argument, which is all that the kernel looks at in an int."""
    return _step(_LOAD, 16 + 8 * index)


def _unless_any_bit(bits: int, number: int) -> list[bytes]:
    return [_argument(0), _step(_ANY_BIT, bits, 0, 1), _refuse(number), _step(_RETURN, _ALLOW)]


def _unless_one_of(values: tuple[int, ...], number: int) -> list[bytes]:
    tests = [_step(_EQUAL, value, len(values) - at, 0) for at, value in enumerate(values)]
    return [_argument(1), *tests, _step(_RETURN, _ALLOW), _refuse(number)]


def _only_one_of(values: tuple[int, ...], number: int) -> list[bytes]:
    tests = [_step(_EQUAL, value, len(values) - at, 0) for at, value in enumerate(values)]
    return [_argument(0), *tests, _refuse(number), _step(_RETURN, _ALLOW)]
