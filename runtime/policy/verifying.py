"""What was promised, laid beside what is in force on the running worker.

A sandbox that silently was not applied is worse than none. What /proc shows of
a program after its start decides; what it does not show (Landlock's rules, the
numbers of a control group's limits) ends the launch when it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from watchglass.protocol.execution import ExecutionPlan, Network, SandboxProfile
from watchglass.runtime.executor import LaunchPlan, Verified

from .budget import CGROUP

_SERVICES: Final = {"memory_bytes": "memory", "pids_max": "pids", "cpu_time_sec": "cpu_time"}
"""Limits that a control group may hold, and what it serves then."""


class Shortfall(NamedTuple):
    """A feature that the plan promises and that is not in force."""

    feature: str
    reason: str


def shortfalls(plan: ExecutionPlan, launch: LaunchPlan, found: Verified) -> Iterator[Shortfall]:
    """Every promise of `plan` that `found` disproves."""
    given = plan.effective_sandbox
    is_sandboxed = given.profile is SandboxProfile.LINUX_SANDBOX
    if not found.no_new_privs:
        yield Shortfall("sandbox.no_new_privs", "the process may gain privileges")
    if (launch.seccomp or not launch.internet) and not found.seccomp:
        feature = "sandbox.seccomp" if launch.seccomp else "sandbox.network"
        yield Shortfall(feature, "no filter of system calls is loaded")
    if launch.uid is not None and found.uid != launch.uid:
        yield Shortfall("sandbox.own_uid", f"the process is user {found.uid} in place of {launch.uid}")
    if is_sandboxed and found.capabilities:
        yield Shortfall("sandbox.profile", f"the process has capabilities ({found.capabilities:#x})")
    if is_sandboxed and given.network is not Network.HOST and "net" not in found.unshared:
        yield Shortfall("sandbox.network", "the process shares the host's network")
    for limit, service in _SERVICES.items():
        planned = plan.features.get(f"limits.{limit}")
        if planned is not None and CGROUP in (planned.mechanism or "") and service not in found.held_by:
            yield Shortfall(f"limits.{limit}", "the process is not in the control group that holds it")
    if given.namespaces is not None:
        for name in ("mount", "pid", "uts", "ipc"):
            if getattr(given.namespaces, name) and name not in found.unshared:
                yield Shortfall(f"sandbox.namespaces.{name}", "the process shares it with the host")
