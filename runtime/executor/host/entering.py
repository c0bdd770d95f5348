"""From the forked child into the sandbox: the folders by descriptor, the uid, then bubblewrap.

Only the steps between fork and exec are here; `bubblewrap.py` has the words.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from . import bubblewrap, folders, identity, seccomp, staging
from .bubblewrap import Doors
from .plan import Plan

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SCRIPT_BYTES_MAX = 64 << 20


class RootUnconfined(OSError):
    """bubblewrap would run as root: it keeps every right on files, and so is no sandbox."""


class RootfsRefused(OSError):
    """The folder that is to be the root cannot be opened."""


def refuse_root(plan: Plan) -> None:
    """Raises RootUnconfined: the plan has a sandbox, and no uid but root's to run it with."""
    uid = os.geteuid() if plan.uid is None else plan.uid
    if plan.sandbox is not None and uid == 0:
        raise RootUnconfined(errno.EPERM, "bubblewrap as root")


class Entrance:
    """Everything opened that takes the rights of the server; `exec` goes through.

    `kept` are the descriptors that bubblewrap needs.
    """

    __slots__ = ("_arguments", "_bwrap", "_env", "kept")

    def __init__(self, plan: Plan, directory: int, status: int, go: int) -> None:
        """Open the folders below `directory` (the worker's), and hand the workspace to the plan's uid.

        `status` is where bubblewrap reports, and `go` the pipe whose first byte lets the program run.

        Raises:
            RootfsRefused.
            OSError: A folder is not as planned, or nothing could be mounted to reach it.
        """
        sandbox = plan.sandbox
        assert sandbox is not None
        workspace = folders.open_beneath(directory, plan.workspace)
        script = _script(directory, plan.script)
        if plan.uid is not None:
            folders.hand_over(workspace, plan.uid)
        rootfs = None if sandbox.rootfs is None else _opened_rootfs(sandbox.rootfs)
        self._bwrap, workspace, rootfs = _within_reach(plan.uid, sandbox.bwrap, workspace, rootfs)
        uid = os.geteuid() if plan.uid is None else plan.uid
        doors = Doors(
            workspace=workspace,
            status=status,
            block=_held_open(go),
            passwd=_in_memory("passwd", bubblewrap.passwd(uid)),
            groups=_in_memory("group", bubblewrap.groups(uid)),
        )
        doors.rootfs, doors.script = rootfs, script
        if plan.seccomp:
            doors.seccomp = _in_memory("seccomp", seccomp.own_filter())
        said = bubblewrap.arguments(
            doors,
            namespaces=sandbox.namespaces,
            cwd=sandbox.cwd,
            tmp_bytes=sandbox.tmp_bytes,
            run_bytes=sandbox.run_bytes,
        )
        spoken = _in_memory("arguments", b"".join(os.fsencode(text) + b"\0" for text in said))
        self.kept = (*doors.all(), spoken)
        self._arguments = [bubblewrap.NAME, "--args", str(spoken), "--", *plan.argv]
        self._env = plan.env

    def exec(self) -> None:
        """Become bubblewrap. Raises OSError."""
        for fd in self.kept:
            os.set_inheritable(fd, True)
        os.execve(self._bwrap, self._arguments, self._env)  # noqa: S606 - no shell is the point


def _opened_rootfs(path: str) -> int:
    try:
        rootfs = os.open(path, _DIRECTORY)
        for name in bubblewrap.MOUNT_POINTS:
            _refuse_link(rootfs, name)
    except OSError as error:
        raise RootfsRefused(error.errno, error.strerror) from error
    return rootfs


def _refuse_link(rootfs: int, name: str) -> None:
    """What is mounted on a link lands where it leads to, see `bubblewrap.py`. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):  # bubblewrap says that in its own words.
        os.close(os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_PATH, dir_fd=rootfs))


def _script(directory: int, name: str | None) -> int | None:
    """A copy of the script, whoever may read the file itself. Raises OSError."""
    if name is None:
        return None
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise PermissionError(errno.EPERM, "no regular file", name)
        return _in_memory("script", os.read(fd, _SCRIPT_BYTES_MAX))
    finally:
        os.close(fd)


def _within_reach(
    uid: int | None, bwrap: str, workspace: int, rootfs: int | None
) -> tuple[str, int, int | None]:
    """The same three where `uid` reaches them, staged if it does not."""
    places = {"workspace": _path_of(workspace), "bwrap": bwrap}
    if rootfs is not None:
        places["rootfs"] = _path_of(rootfs)
    if uid is None or all(identity.reachable_by(uid, path) for path in places.values()):
        return bwrap, workspace, rootfs
    home, inside = _home_of(bwrap)
    tools = os.open(home, _DIRECTORY)
    clones = {"workspace": staging.clone_of(workspace), "tools": staging.clone_of(tools)}
    if rootfs is not None:
        clones["rootfs"] = staging.clone_of(rootfs)
    paths = staging.stage(clones)
    staged_rootfs = None if rootfs is None else os.open(paths["rootfs"], _DIRECTORY)
    return f"{paths['tools']}/{inside}", os.open(paths["workspace"], _DIRECTORY), staged_rootfs


def _home_of(bwrap: str) -> tuple[str, str]:
    """Three levels up, where a Python package has the library beside it; and bubblewrap's path from there."""
    parts = os.path.realpath(bwrap).split("/")
    return "/".join(parts[:-3]) or "/", "/".join(parts[-3:])


def _path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115


def _held_open(pipe: int) -> int:
    """The same pipe for reading and writing: so its end never comes, and only a byte is a go.

    The supervisor's death kills us, but it closes the pipe a moment before.
    """
    return os.open(f"/proc/self/fd/{pipe}", os.O_RDWR | os.O_CLOEXEC)


def _in_memory(name: str, content: bytes) -> int:
    fd = os.memfd_create(name)
    written = 0
    while written < len(content):
        written += os.pwrite(fd, content[written:], written)  # So it is read from its beginning.
    return fd
