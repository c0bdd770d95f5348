"""What `serve` is told of its host: how strict to be, where control groups are, who workers are.

Texts in, values out; nothing is looked at. What the host makes of it is the probe's to tell.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

from watchglass.protocol.errors import shown
from watchglass.protocol.execution import CapabilityMode
from watchglass.runtime.uids import OWN_UIDS, OwnUids

WORKER_UIDS_MAX: Final = 1_000_000
WORKER_UID_MAX: Final = (1 << 32) - (1 << 20)
"""The kernel has 32 bits; (uid_t)-1 means nobody, and so many workers have room above the base."""


class ConfinementFault(ValueError):
    """A flag that cannot be used; it names the flag and the value."""


def capability_mode_of(text: str | None) -> CapabilityMode:
    """Raises ConfinementFault."""
    modes = [mode.value for mode in CapabilityMode]
    if text is not None and text not in modes:
        raise ConfinementFault(f"--capability-mode {shown(text)}: use one of {', '.join(modes)}")
    return CapabilityMode.ADAPTIVE if text is None else CapabilityMode(text)


def cgroup_root_of(root: str | os.PathLike[str] | None, *, cgroups: bool) -> Path | None:
    """The group below which those of workers are made.

    Raises:
        ConfinementFault: It is no absolute path, or no group is to be made at all.
    """
    if root is None:
        return None
    text = os.fspath(root)
    if not cgroups:
        raise ConfinementFault(f"--cgroup-root {shown(text)}: not with --no-cgroups; leave one of them out")
    if not text.startswith("/") or "\0" in text or ".." in PurePosixPath(text).parts:
        raise ConfinementFault(
            f"--cgroup-root {shown(text)}: use the absolute path of a group, such as "
            "/system.slice/agents.service or /sys/fs/cgroup/agents, without '..'"
        )
    return Path(text)


def worker_uids_of(text: str | None, *, server_uid: int) -> OwnUids:
    """Which workers are users of their own, when a server of `server_uid` can make them so.

    Raises:
        ConfinementFault: It is no such word, or all are to be, and the server is not root.
    """
    given = OWN_UIDS[0] if text is None else next((word for word in OWN_UIDS if word == text), None)
    if given is None:
        raise ConfinementFault(f"--worker-uids {shown(text)}: use one of {', '.join(OWN_UIDS)}")
    if given == "all" and server_uid != 0:
        raise ConfinementFault(
            f"--worker-uids all: takes a server that is root, and this is user {server_uid}; "
            "start it as root, or leave the flag out"
        )
    return given
