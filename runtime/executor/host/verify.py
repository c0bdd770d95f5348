"""What is really in force on a running worker, read from /proc after its start."""

from __future__ import annotations

import functools
import os

from . import linux
from .cgroup import Groups

_NAMESPACES = {"mnt": "mount", "pid": "pid", "uts": "uts", "ipc": "ipc", "net": "net", "user": "user"}
_FILTER = 2  # Of "Seccomp:", proc_pid_status(5).


def in_force(pid: int, groups: Groups) -> dict[str, object] | None:
    """{pid, no_new_privs, seccomp, uid, capabilities, unshared, held_by}; None: it has ended.

    `uid` is the effective one, `capabilities` the effective set as a number,
    `unshared` the namespaces that are not ours, `held_by` what those of its
    worker's control groups serve that it is in.
    """
    try:
        status = linux.read_small_file(f"/proc/{pid}/status")
        held_by = groups.holding(linux.read_small_file(f"/proc/{pid}/cgroup")) if groups.paths else []
        theirs = _namespaces(str(pid))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    ours = own_namespaces()
    return {
        "pid": pid,
        "no_new_privs": _field(status, b"NoNewPrivs") == b"1",
        "seccomp": int(_field(status, b"Seccomp")) == _FILTER,
        "uid": int(_field(status, b"Uid").split()[1]),
        "capabilities": int(_field(status, b"CapEff"), 16),
        "held_by": held_by,
        "unshared": [word for word in ours if theirs[word] != ours[word]],
    }


@functools.cache
def own_namespaces() -> dict[str, str]:
    """Ours by kind: those of the spawn daemon, which asks first, and of all that it forks."""
    return _namespaces("self")


def _field(status: bytes, name: bytes) -> bytes:
    return status.partition(b"\n" + name + b":")[2].partition(b"\n")[0].strip()


def _namespaces(pid: str) -> dict[str, str]:
    # pathlib would weigh on every supervisor.
    return {word: os.readlink(f"/proc/{pid}/ns/{name}") for name, word in _NAMESPACES.items()}  # noqa: PTH115
