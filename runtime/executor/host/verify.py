"""What is really in force on a running worker, read from /proc after its start."""

from __future__ import annotations

import os

from . import linux

_NAMESPACES = {"mnt": "mount", "pid": "pid", "uts": "uts", "ipc": "ipc", "net": "net", "user": "user"}
_FILTER = 2  # Of "Seccomp:", proc_pid_status(5).


def in_force(pid: int) -> dict[str, object] | None:
    """{pid, no_new_privs, seccomp, uid, capabilities, unshared}; None: it has ended.

    `uid` is the effective one, `capabilities` the effective set as a number,
    `unshared` the namespaces that are not ours.
    """
    try:
        status = _status(pid)
        unshared = _unshared(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return {
        "pid": pid,
        "no_new_privs": status["NoNewPrivs"] == "1",
        "seccomp": int(status["Seccomp"]) == _FILTER,
        "uid": int(status["Uid"].split()[1]),
        "capabilities": int(status["CapEff"], 16),
        "unshared": unshared,
    }


def _status(pid: int) -> dict[str, str]:
    lines = linux.read_small_file(f"/proc/{pid}/status").decode(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _unshared(pid: int) -> list[str]:
    return [
        word for name, word in _NAMESPACES.items() if _namespace(str(pid), name) != _namespace("self", name)
    ]


def _namespace(pid: str, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")  # noqa: PTH115 - pathlib would weigh on every supervisor.
