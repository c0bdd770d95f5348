"""A worker that does nothing, run in a sandbox as any worker would be, to see whether that works here."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable

from . import bubblewrap, identity, linux, netns
from .entering import Entrance
from .plan import Plan

TRIAL_S_MAX = 2.0
"""A trial that takes longer has failed."""

ALL = frozenset({"pid", "uts", "ipc", "net"})

_PROGRAM = "/usr/bin/true"
_NO_SUCH_PROGRAM = "/nowhere"
_SAID_BYTES_MAX = 4096
_SMALL = 1 << 20


class Trial:
    """Runs in one empty folder, as `uid` (None: ourselves). Each answers "", or what refused it."""

    __slots__ = ("_bwrap", "_directory", "_place", "_template", "_uid")

    def __init__(self, bwrap: str, uid: int | None, place: str, template: dict[str, object]) -> None:
        """`place` is the folder, ours and empty, and `template` a worker's plan. Raises OSError."""
        self._template = template
        self._bwrap = bwrap
        self._uid = uid
        self._place = place
        os.mkdir(f"{place}/workspace", 0o700)  # noqa: PTH102 - pathlib would weigh on the spawn daemon.
        self._directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._directory)

    def run(self, namespaces: frozenset[str] = ALL) -> str:
        """With everything that a worker gets."""
        return self._said(self._plan(_PROGRAM, namespaces, None))

    def rootfs(self) -> str:
        """With a folder as the root. It is empty, so to find no program there is to have come far enough."""
        root = f"{self._place}/rootfs"
        for name in ("", *bubblewrap.MOUNT_POINTS):
            os.mkdir(f"{root}/{name}", 0o755)  # noqa: PTH102
        said = self._said(self._plan(_NO_SUCH_PROGRAM, ALL, root))
        told = bubblewrap.failure(said.encode(), _NO_SUCH_PROGRAM)
        return "" if (told["step"], told["error_number"]) == ("exec", errno.ENOENT) else said

    def follows_links(self) -> bool:
        """Whether a mount point is made behind a link that a worker could have left (CVE-2026-87766)."""
        for name in ("", "lure", "outside"):
            folder = f"{self._place}/links/{name}"
            os.mkdir(folder, 0o755)  # noqa: PTH102
            if self._uid is not None:
                os.chown(folder, self._uid, self._uid)
        outside = f"{self._place}/links/outside"
        os.symlink(f"/oldroot{outside}", f"{self._place}/links/lure/link")  # noqa: PTH211
        os.chmod(self._place, 0o711)  # noqa: PTH101, S103 - the trial's uid has to get there; it holds nothing.
        lure = ["--bind", f"{self._place}/links/lure", "/lure", "--dir", "/lure/link/escaped"]
        command = [bubblewrap.NAME, "--unshare-user", *lure, "--", _NO_SUCH_PROGRAM]
        said_by(lambda: self._exec(command))
        return bool(os.listdir(outside))  # noqa: PTH208

    def egress(self) -> str:
        """With a socket that listens in its network before its go."""
        return said_by(self._listen_inside)

    def _listen_inside(self) -> None:
        """bubblewrap ends with us. Raises OSError; why it ended itself, it has said."""
        status, status_inside = os.pipe()
        go_inside, go = os.pipe()
        plan = self._plan(_PROGRAM, ALL, None)
        pid = os.fork()
        if pid == 0:
            _act(lambda: self._exec_plan(plan, status_inside, go_inside), 2)
        os.close(status_inside)
        with open(status, "rb") as told:  # noqa: PTH123 - it is a descriptor.
            first = told.readline()
            if first:
                os.close(netns.listener_inside(json.loads(first)["child-pid"]))
                os.write(go, b"g")
            _, code = os.waitpid(pid, 0)
        if code:
            os._exit(1)

    def _exec(self, command: list[str]) -> None:
        if self._uid is not None:
            identity.become(self._uid)
        linux.refuse_new_privileges()
        linux.close_all_fds(but=())
        os.execve(self._bwrap, command, {})  # noqa: S606 - no shell is the point

    def _said(self, plan: Plan) -> str:
        return said_by(lambda: self._enter(plan))

    def _enter(self, plan: Plan) -> None:
        """What `child.py` does, but that the go is there at once."""
        status = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        go, let_go = os.pipe()
        os.write(let_go, b"g")
        self._exec_plan(plan, status, go)

    def _exec_plan(self, plan: Plan, status: int, go: int) -> None:
        """Raises OSError."""
        entrance = Entrance(plan, self._directory, status, go)
        if plan.uid is not None:
            identity.become(plan.uid)
        linux.signal_on_parent_death(signal.SIGKILL)
        linux.refuse_new_privileges()
        linux.close_all_fds(but=entrance.kept)
        entrance.exec()

    def _plan(self, program: str, namespaces: frozenset[str], rootfs: str | None) -> Plan:
        sandbox = {
            "bwrap": self._bwrap,
            "cwd": bubblewrap.WORKSPACE,
            "namespaces": sorted(namespaces),
            "rootfs": rootfs,
            "tmp_bytes": _SMALL,
            "run_bytes": _SMALL,
            "egress": False,
        }
        changes = {"argv": [program], "directory": self._place, "uid": self._uid, "sandbox": sandbox}
        return Plan(json.dumps(self._template | changes).encode())


def said_by(act: Callable[[], None]) -> str:
    """Do it in a child: "" if that ends well, else the last thing that it said.

    Raises:
        OSError: There is no further process or descriptor.
    """
    said, said_inside = os.pipe()
    pid = os.fork()
    if pid == 0:
        _act(act, said_inside)
    os.close(said_inside)
    try:
        text = _read_within(said, pid)
    finally:
        os.close(said)
    _, status = os.waitpid(pid, 0)
    lines = text.decode(errors="replace").strip().splitlines()
    code = os.waitstatus_to_exitcode(status)
    return "" if code == 0 else lines[-1] if lines else f"it ended with {code}"


def _act(act: Callable[[], None], said: int) -> None:
    """Never returns."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for target, fd in enumerate((null, null, said)):
            os.dup2(fd, target)
        act()
        code = 0
    except OSError as error:
        os.write(2, f"{error.filename or 'system call'}: {error.strerror}".encode())
    finally:
        os._exit(code)


def _read_within(pipe: int, pid: int) -> bytes:
    """All that comes until everyone who could write has ended; at TRIAL_S_MAX the child is killed."""
    said = b""
    until = time.monotonic() + TRIAL_S_MAX
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while poll.poll(max(0.0, until - time.monotonic()) * 1000):
        part = os.read(pipe, _SAID_BYTES_MAX)
        if not part:
            return said
        said = (said + part)[-_SAID_BYTES_MAX:]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return said + b"\nit did not end in time"
