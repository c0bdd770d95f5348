"""What can keep a worker from the host, found by doing it. Each answer names its mechanism or its obstacle.

To be called where workers are forked: whatever the server may do and they may
not would otherwise count. Everything is done in forked children, with a time
limit, and in an empty folder that is removed again.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable

from . import bubblewrap, folders, identity, inside, landlock, linux, seccomp
from .entering import Entrance
from .plan import Plan, Sandbox

TRIAL_S_MAX = 2.0
"""A trial that takes longer has failed."""

NOBODY = 65534
"""Whose rights a trial has when the server is root and names no uid for workers."""

_NAMESPACES = ("pid", "uts", "ipc", "net")
_TRIED = frozenset(_NAMESPACES)
_SMALL = 1 << 20

Answer = dict[str, object]
"""{mechanism: str | None, reason: str | None}, as `Found` has it."""


def probe(bwraps: list[str], worker_uid: int | None = None) -> dict[str, object]:
    """Everything of `SandboxCapabilities`, and `bwrap`: the first of `bwraps` that works, or None.

    `worker_uid` is one that workers would get. Raises OSError: no folder can be made for the trials.
    """
    uid = _uid_of_workers(worker_uid)
    place = tempfile.mkdtemp(prefix="watchglass-probe-")
    try:
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _probe(bwraps, uid, directory)
        finally:
            os.close(directory)
    finally:
        shutil.rmtree(place)


def _probe(bwraps: list[str], uid: int | None, directory: int) -> dict[str, object]:
    own_uid = _own_uid(uid)
    trials = _Trials(uid if own_uid["mechanism"] else None, directory)
    bwrap, box = _first_that_works(bwraps, trials)
    return {
        "bwrap": bwrap,
        "linux_sandbox": box,
        "namespaces": _namespaces(bwrap or (bwraps[0] if bwraps else None), trials, works=bwrap is not None),
        "rootfs": box if bwrap is None else trials.rootfs(bwrap),
        "mount_destination": box if bwrap is None else trials.mount_destination(bwrap),
        "restricted_filesystem": _answer_of(_restrict_files, f"landlock abi {_abi()}"),
        "seccomp": _answer_of(_filter_calls, "seccomp"),
        "own_uid": own_uid,
        "exact_exit": _exact_exit(),
    }


def _uid_of_workers(worker_uid: int | None) -> int | None:
    """None: workers keep ours."""
    if os.geteuid() != 0:
        return None
    return NOBODY if worker_uid is None else worker_uid


def _yes(mechanism: str, reason: str | None = None) -> Answer:
    return {"mechanism": mechanism, "reason": reason}


def _no(reason: str) -> Answer:
    return {"mechanism": None, "reason": reason}


class _Trials:
    """Runs of bubblewrap as a worker's uid, with the arguments of a worker."""

    def __init__(self, uid: int | None, directory: int) -> None:
        self._uid = uid
        self._directory = directory
        for name in ("workspace", "rootfs"):
            os.mkdir(name, 0o700, dir_fd=directory)  # noqa: PTH102 - pathlib would weigh on every supervisor.

    def run(self, bwrap: str, namespaces: frozenset[str] = _TRIED, rootfs: str | None = None) -> Answer:
        """A worker that does nothing, with all that a worker gets."""
        plan = self._plan(bwrap, namespaces, rootfs)
        said = _said_by(lambda out: self._enter(plan, out))
        return _yes(f"bubblewrap {bwrap}") if said == "" else _no(said)

    def rootfs(self, bwrap: str) -> Answer:
        """A root made of our own folders, with the host's programs bound nowhere: it must get as far as exec."""
        root = os.open("rootfs", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._directory)
        try:
            for name in ("proc", "dev", "tmp", "run", "workspace"):
                os.mkdir(name, 0o755, dir_fd=root)  # noqa: PTH102
            os.fchmod(root, 0o755)
            path = os.readlink(f"/proc/self/fd/{root}")  # noqa: PTH115
        finally:
            os.close(root)
        answer = self.run(bwrap, rootfs=path)
        reached = f"{bubblewrap.MESSAGE_EXEC}/usr/bin/true: {os.strerror(errno.ENOENT)}"
        return _yes("bubblewrap pivot_root") if answer["reason"] == reached else answer

    def mount_destination(self, bwrap: str) -> Answer:
        """Whether a mount follows a link that a worker could have made, out of the sandbox (CVE-2026-87766)."""
        workspace = folders.open_beneath(self._directory, "workspace")
        try:
            path = os.readlink(f"/proc/self/fd/{workspace}")  # noqa: PTH115
            os.mkdir("outside", 0o777, dir_fd=workspace)  # noqa: PTH102
            os.symlink(f"/oldroot{path}/outside", "link", dir_fd=workspace)
            if self._uid is not None:
                os.chown("outside", self._uid, self._uid, dir_fd=workspace)
            self._try_to_follow(bwrap, workspace)
            escaped = os.listdir(f"/proc/self/fd/{workspace}/outside")  # noqa: PTH208
        finally:
            os.close(workspace)
        return _yes("bubblewrap", "follows links in mount destinations" if escaped else None)

    def _plan(self, bwrap: str, namespaces: frozenset[str], rootfs: str | None) -> Plan:
        return Plan.for_trial(
            argv=["/usr/bin/true"],
            uid=self._uid,
            sandbox=Sandbox(
                bwrap=bwrap,
                namespaces=sorted(namespaces),
                rootfs=rootfs,
                script=None,
                tmp_bytes=_SMALL,
                run_bytes=_SMALL,
            ),
        )

    def _enter(self, plan: Plan, stderr: int) -> None:
        """In a forked child."""
        status, status_inside = os.pipe()
        go, let_go = os.pipe()
        os.write(let_go, b"g")
        null = os.open(os.devnull, os.O_RDWR)
        for target, fd in enumerate((null, null, stderr)):
            os.dup2(fd, target)
        entrance = Entrance(plan, self._directory, status_inside, go)
        _give_up_rights(self._uid)
        linux.close_all_fds(but=(status, *entrance.kept))
        entrance.exec()
