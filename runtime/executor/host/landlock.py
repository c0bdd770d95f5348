"""The file system that is left to a process that restricted itself, see landlock(7).

The workspace to read and write, the system to read and execute, a few devices.
What Landlock does not know stays as it was: no version of it stops chmod, stat or
UDP. Where the kernel offers it, the worker also reaches no abstract socket and
signals no process of others.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

from .linux import libc

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/etc", "/proc")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # The same on every architecture.
_ASK_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_RIGHTS_OF_ABI = ((5, 16), (3, 15), (2, 14), (1, 13))  # From this version on, so many bits of rights.
_TCP_ABI, _TCP = 4, 0b11  # bind, connect
_SCOPE_ABI, _SCOPES = 6, 0b11  # abstract unix sockets, signals


def abi() -> int:
    """The version that the kernel speaks. Raises OSError: none."""
    return _checked(
        libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_ASK_VERSION))
    )


def restrict(workspace: int, *, internet: bool, script: str | None = None) -> None:
    """Restrict this process and all that it makes, for good. Without `internet`, TCP too.

    `script` is a file beside the workspace that may be read.

    Raises:
        OSError: The kernel has no Landlock; it also wants no_new_privs to be set before.
    """
    version = abi()
    rights = (1 << next(bits for least, bits in _RIGHTS_OF_ABI if version >= least)) - 1
    tcp = _TCP if version >= _TCP_ABI and not internet else 0
    scopes = _SCOPES if version >= _SCOPE_ABI else 0
    ruleset = _create(struct.pack("=QQQ", rights, tcp, scopes), version)
    try:
        _allow(ruleset, workspace, rights)
        for path in SYSTEM:
            _allow_path(ruleset, path, _EXECUTE | _READ_FILE | _READ_DIR)
        if script is not None:
            _allow_path(ruleset, script, _EXECUTE | _READ_FILE)
        for path in DEVICES:
            _allow_path(ruleset, path, rights & (_READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV))
        _checked(libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_long(ruleset), ctypes.c_uint(0)))
    finally:
        os.close(ruleset)


def _create(attributes: bytes, version: int) -> int:
    size = 24 if version >= _SCOPE_ABI else 16 if version >= _TCP_ABI else 8  # What this kernel knows of.
    return _checked(
        libc.syscall(
            ctypes.c_long(_CREATE_RULESET),
            ctypes.c_char_p(attributes),
            ctypes.c_size_t(size),
            ctypes.c_uint(0),
        )
    )


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            _allow(ruleset, fd, rights)
        finally:
            os.close(fd)


def _allow(ruleset: int, fd: int, rights: int) -> None:
    rule = ctypes.c_char_p(struct.pack("=Qi", rights, fd))
    _checked(
        libc.syscall(
            ctypes.c_long(_ADD_RULE),
            ctypes.c_long(ruleset),
            ctypes.c_long(_PATH_BENEATH),
            rule,
            ctypes.c_uint(0),
        )
    )


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "landlock")
    return int(result)
