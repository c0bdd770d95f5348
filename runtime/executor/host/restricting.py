"""What holds a worker back without a sandbox of its own: Landlock and the seccomp filter."""

from __future__ import annotations

import contextlib
import os

from . import folders, identity, landlock, linux, seccomp, staging
from .plan import Plan

_TMP = ".tmp"
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_own(plan: Plan, directory: int) -> int | None:
    """The workspace, when anything is to be done to it; the plan's uid reaches it. Raises OSError."""
    if plan.uid is None and not plan.restricted_filesystem:
        return None
    workspace = folders.open_beneath(directory, plan.workspace)
    if plan.uid is not None:
        folders.hand_over(workspace, plan.uid)
        _bring_within_reach(plan, plan.uid, workspace, directory)
    return workspace


def restrict(plan: Plan, workspace: int | None) -> None:
    """Give up the file system, then the system calls. Raises OSError: the kernel cannot hold us to it."""
    if plan.restricted_filesystem and workspace is not None:
        _make_tmp(plan, workspace)
        landlock.restrict(workspace, internet=plan.internet, script=_script_path(plan))
        if os.geteuid() == 0:
            linux.forbid_capabilities()  # With them root reads other processes past Landlock.
    if plan.seccomp or not plan.internet:
        seccomp.load(seccomp.own_filter(internet=plan.internet))


def _bring_within_reach(plan: Plan, uid: int, workspace: int, directory: int) -> None:
    """Raises OSError: we are not allowed to mount."""
    script = None
    if plan.script is not None:
        script = os.open(plan.script, _FILE, dir_fd=directory)
        os.fchown(script, uid, uid)
    path = os.path.realpath(f"{plan.directory}/{plan.workspace}")
    closed = identity.closed_above(uid, path)
    if closed is not None:
        beside = None if script is None else (script, f"{os.path.realpath(plan.directory)}/{plan.script}")
        staging.stage_in_place(closed, workspace, path, beside)


def _script_path(plan: Plan) -> str | None:
    return None if plan.script is None else f"{plan.directory}/{plan.script}"


def _make_tmp(plan: Plan, workspace: int) -> None:
    """A folder for temporary files: /tmp is everybody's."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(_TMP, 0o700, dir_fd=workspace)
    plan.env.setdefault("TMPDIR", f"{plan.directory}/{plan.workspace}/{_TMP}")
