"""What bubblewrap is told, and what its messages mean.

The arguments travel by a descriptor (`--args`), the environment as that of the
process: neither shows in a command line. The root is a fresh file system in memory,
read-only in the end. Every mount lies in it, in a folder that no worker ever wrote to,
and the workspace is bound last with nothing mounted below: a symbolic link in it leads
no mount astray (CVE-2026-87766).
"""

from __future__ import annotations

import errno
import functools
import os

WORKSPACE = "/workspace"
SCRIPT = "/run/script"
"""Where the worker finds its script: a copy, which only it can spoil."""

NAME = "watchglass-sandbox"
"""argv[0] of bubblewrap: a process below it that bears another name is the program."""

MOUNT_POINTS = ("proc", "dev", "tmp", "run", "workspace")
"""Folders that a root must have, and as folders: a link there would lead a mount astray."""

_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SETTINGS = (
    "alternatives",
    "ca-certificates",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki",
    "protocols",
    "services",
    "ssl",
    "timezone",
)
_MESSAGE = "bwrap: "
_EXEC_MESSAGE = "bwrap: execvp "
_CHDIR_MESSAGE = "bwrap: Can't chdir to "


class Doors:
    """The descriptors that bubblewrap takes in: those of None are not asked for."""

    __slots__ = ("block", "groups", "passwd", "rootfs", "script", "seccomp", "status", "workspace")

    def __init__(self, *, workspace: int, status: int, block: int, passwd: int, groups: int) -> None:
        self.workspace = workspace
        self.status = status
        self.block = block
        self.passwd = passwd
        self.groups = groups
        self.rootfs: int | None = None
        self.script: int | None = None
        self.seccomp: int | None = None

    def all(self) -> tuple[int, ...]:
        fds = (getattr(self, name) for name in self.__slots__)
        return tuple(fd for fd in fds if fd is not None)


def arguments(
    doors: Doors, *, namespaces: frozenset[str], cwd: str, tmp_bytes: int, run_bytes: int
) -> list[str]:
    """bubblewrap's options. `namespaces` are of pid, uts, ipc and net; user and mount always are unshared."""
    return [
        *_isolation(namespaces),
        *_system(doors, has_network="net" not in namespaces),
        *(["--proc", "/proc"] if "pid" in namespaces else ["--ro-bind", "/proc", "/proc"]),
        *["--dev", "/dev", *_memory("/dev/shm", tmp_bytes), "--remount-ro", "/dev"],  # noqa: S108
        *_memory("/tmp", tmp_bytes),  # noqa: S108 - both are the worker's own.
        *_memory("/run", run_bytes),
        *_copy(doors.script, SCRIPT),
        *["--bind-fd", str(doors.workspace), WORKSPACE, "--remount-ro", "/", "--chdir", cwd],
        *([] if doors.seccomp is None else ["--seccomp", str(doors.seccomp)]),
        *["--json-status-fd", str(doors.status), "--block-fd", str(doors.block)],
    ]


def _isolation(namespaces: frozenset[str]) -> list[str]:
    said = ["--unshare-user", "--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL"]
    said += ["--die-with-parent", "--new-session"]
    said += [f"--unshare-{name}" for name in ("pid", "uts", "ipc", "net") if name in namespaces]
    return said + (["--hostname", "worker"] if "uts" in namespaces else [])


def _memory(path: str, size_bytes: int) -> list[str]:
    return ["--size", str(size_bytes), "--tmpfs", path]


def _copy(fd: int | None, path: str) -> list[str]:
    return [] if fd is None else ["--perms", "0444", "--file", str(fd), path]


def _system(doors: Doors, *, has_network: bool) -> list[str]:
    """The given root, or the host's programs and the few of its settings that programs look for."""
    if doors.rootfs is not None:
        return ["--ro-bind-fd", str(doors.rootfs), "/"]
    network = _setting("resolv.conf") if has_network else []
    return [
        *host_system(),
        *network,
        *_copy(doors.passwd, "/etc/passwd"),
        *_copy(doors.groups, "/etc/group"),
    ]


@functools.cache
def host_system() -> list[str]:
    """The host's programs and settings. The spawn daemon asks first, for all whom it forks."""
    said = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        if os.path.islink(f"/{name}"):  # noqa: PTH114 - pathlib would weigh on every supervisor.
            said += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]  # noqa: PTH115
        elif os.path.isdir(f"/{name}"):  # noqa: PTH112
            said += ["--ro-bind", f"/{name}", f"/{name}"]
    said += ["--perms", "0755", "--dir", "/etc"]
    for name in _SETTINGS:
        said += _setting(name)
    return said


def _setting(name: str) -> list[str]:
    return ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]


def passwd(uid: int) -> bytes:
    """An /etc/passwd with nobody in it but who is needed."""
    worker = f"worker:x:{uid}:{uid}:worker:{WORKSPACE}:/bin/sh\n" if uid != 65534 else ""
    return f"root:x:0:0:root:/:/bin/sh\n{worker}nobody:x:65534:65534:nobody:/:/bin/false\n".encode()


def groups(gid: int) -> bytes:
    worker = f"worker:x:{gid}:\n" if gid != 65534 else ""
    return f"root:x:0:\n{worker}nogroup:x:65534:\n".encode()


def failure(stderr: bytes, program: str) -> dict[str, object]:
    """Why nothing ran, as a FAILED frame: of the last thing that bubblewrap said.

    A program that it could not execute, and a folder that it could not start in,
    are told as without a sandbox; anything else is of step "sandbox", with
    bubblewrap's line as the subject.
    """
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.startswith(_MESSAGE)]
    line = lines[-1] if lines else "bubblewrap ended without a word"
    if line.startswith(_EXEC_MESSAGE):
        return {"step": "exec", "subject": program, "error_number": _errno_of(line)}
    if line.startswith(_CHDIR_MESSAGE):
        folder = line.removeprefix(_CHDIR_MESSAGE).rpartition(": ")[0]
        return {"step": "chdir", "subject": folder, "error_number": _errno_of(line)}
    return {"step": "sandbox", "subject": line, "error_number": _errno_of(line)}


def _errno_of(line: str) -> int:
    """The error number whose text the line ends with; EPROTO when there is none."""
    for number in errno.errorcode:
        if line.endswith(f": {os.strerror(number)}"):
            return number
    return errno.EPROTO
