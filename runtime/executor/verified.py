"""What a supervisor found in force on its worker, after the start and not before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Read from /proc of the program itself, which in a sandbox is not the process that `Process.pid` is.

    `seccomp`: a filter is loaded. `capabilities`: the effective set. `unshared`:
    which of mount, pid, uts, ipc, net and user are not the supervisor's. `held_by`:
    what the worker's control groups serve, of those that the program is in.
    """

    pid: int
    no_new_privs: bool
    seccomp: bool
    uid: int
    capabilities: int
    unshared: frozenset[str]
    held_by: frozenset[str]


def verified_of(told: Mapping[str, Any] | None) -> Verified | None:
    """From the frame of the supervisor."""
    if told is None:
        return None
    sets = {name: frozenset(told.get(name, ())) for name in ("unshared", "held_by")}
    return Verified(**{**told, **sets})
