"""What of a host decides which advice helps: who we are, and a few switches of the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MARKS_OF_A_CONTAINER: Final = ("/.dockerenv", "/run/.containerenv")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """None of a switch: this kernel has none of that name.

    `userns_clone` is Debian's kernel.unprivileged_userns_clone, `userns_max` is
    user.max_user_namespaces, `apparmor_userns` is Ubuntu's
    kernel.apparmor_restrict_unprivileged_userns (1: only programs with a profile).
    `cgroup_root` is the group that is to be used, if one was named.
    """

    uid: int
    is_container: bool
    userns_clone: int | None = None
    userns_max: int | None = None
    apparmor_userns: int | None = None
    cgroup_root: Path | None = None

    @property
    def is_root(self) -> bool:
        """Whether the server could give workers users of their own."""
        return self.uid == 0

    @property
    def shown(self) -> str:
        """Who looks, and from where."""
        who = "as root" if self.is_root else f"as user {self.uid}"
        return f"{who}, in a container" if self.is_container else who


def host_facts(read: Callable[[str], str | None] | None = None) -> HostFacts:
    """Those of this process; `read` is what a file holds, or None."""
    read = read or _content
    return HostFacts(
        uid=os.geteuid(),
        is_container=any(Path(mark).exists() for mark in _MARKS_OF_A_CONTAINER),
        userns_clone=_number(read("/proc/sys/kernel/unprivileged_userns_clone")),
        userns_max=_number(read("/proc/sys/user/max_user_namespaces")),
        apparmor_userns=_number(read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")),
    )


def _content(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None
