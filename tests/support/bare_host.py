"""Becomes a program on a host that gives little, as a container often is.

    python -I -S bare_host.py PROGRAM ARG...

User namespaces: none can be made any more, by a limit on our own (user_namespaces(7)).
Control groups: all that is mounted is read-only, in a mount namespace of our own.
The process stays the same, so it is signalled and waited for as the program.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_NEWNS, _NEWUSER = 0x20000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_EVERY_ID = "0 0 4294967295"

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Never returns."""
    _leave_user_namespace()
    _call("unshare", _NEWNS)
    _mount("/", _REC | _PRIVATE)
    for place in _cgroup_mounts():
        _mount(place, _REMOUNT | _BIND | _RDONLY)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell is the point.


def _leave_user_namespace() -> None:
    """Into one of our own with the same ids; whoever is root outside maps them all for us."""
    uid, gid = os.geteuid(), os.getegid()
    ready, told = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.read(ready, 1)
        _map(os.getppid(), uid, gid)
        os._exit(0)
    _call("unshare", _NEWUSER)
    os.write(told, b"u")
    if os.waitpid(mapper, 0)[1] != 0:
        sys.exit("the ids could not be mapped")


def _map(pid: int, uid: int, gid: int) -> None:
    is_root = uid == 0
    if not is_root:
        Path(f"/proc/{pid}/setgroups").write_text("deny")
    Path(f"/proc/{pid}/uid_map").write_text(_EVERY_ID if is_root else f"{uid} {uid} 1")
    Path(f"/proc/{pid}/gid_map").write_text(_EVERY_ID if is_root else f"{gid} {gid} 1")


def _cgroup_mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4] for line in lines if line.partition(" - ")[2].startswith("cgroup")]


def _mount(place: str, flags: int) -> None:
    _call("mount", b"none", place.encode(), None, ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        sys.exit(f"{name} {arguments}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
