"""What holds a worker back without a sandbox of its own: Landlock and the seccomp filter."""

from __future__ import annotations

import contextlib
import os

from . import folders, landlock, linux, seccomp
from .plan import Plan

_TMP = ".tmp"


def open_own(plan: Plan, directory: int) -> int | None:
    """The workspace, when anything has to be done to it; handed to the plan's uid. Raises OSError."""
    if plan.uid is None and not plan.restricted_filesystem:
        return None
    workspace = folders.open_beneath(directory, plan.workspace)
    if plan.uid is not None:
        folders.hand_over(workspace, plan.uid)
    return workspace


def restrict(plan: Plan, workspace: int | None) -> None:
    """Give up the file system, then the system calls. Raises OSError: the kernel cannot hold us to it."""
    if plan.restricted_filesystem and workspace is not None:
        _make_tmp(plan, workspace)
        landlock.restrict(workspace, internet=plan.internet)
        if os.geteuid() == 0:
            linux.forbid_capabilities()  # With them root reads other processes past Landlock.
    if plan.seccomp or not plan.internet:
        seccomp.load(seccomp.own_filter(internet=plan.internet))


def _make_tmp(plan: Plan, workspace: int) -> None:
    """A folder for temporary files: /tmp is everybody's."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(_TMP, 0o700, dir_fd=workspace)
    plan.env.setdefault("TMPDIR", f"{plan.directory}/{plan.workspace}/{_TMP}")
