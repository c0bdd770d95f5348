"""From what was asked to what is given: the execution plan.

This runtime starts workers in the profile `process`. What it cannot give it
says, once for each thing lost (`adaptive`), or refuses (`strict`). A budget
that nobody asked for never degrades a plan.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchglass.protocol.errors import UnsupportedCapability
from watchglass.protocol.execution import (
    CapabilityMode,
    ExecutionPlan,
    ResourceEnforcement,
    Sandbox,
    SandboxProfile,
)
from watchglass.protocol.workers import CreateWorkerRequest


def resolve(request: CreateWorkerRequest, default_mode: CapabilityMode) -> ExecutionPlan:
    """The plan of a worker with an execution.

    Raises:
        UnsupportedCapability: Strict mode, and something is not to be had.
    """
    mode = _mode(request, default_mode)
    losses = list(_losses(request))
    if losses and mode is CapabilityMode.STRICT:
        raise UnsupportedCapability(*losses[0])
    limits = request.limits
    return ExecutionPlan(
        capability_mode=mode,
        requested_sandbox=request.sandbox,
        effective_sandbox=Sandbox(workspace_subdir=request.sandbox.workspace_subdir),
        resource_enforcement=ResourceEnforcement(
            wall_time_ms=limits.wall_time_ms,
            cpu_time_sec=limits.cpu_time_sec,
            cpu_time_enforced=limits.cpu_time_sec is not None,
            memory_bytes=limits.memory_bytes,
            memory_enforced=limits.memory_bytes is not None,
            pids_max=limits.pids_max,
        ),
        degraded=bool(losses),
        fallback_reasons=[f"{feature}: {reason}" for feature, reason in losses],
        capability_warnings=list(_warnings(request)),
    )


def _mode(request: CreateWorkerRequest, default_mode: CapabilityMode) -> CapabilityMode:
    if request.control_context.requires_strict_sandbox:
        return CapabilityMode.STRICT
    return request.policy.capability_mode or default_mode


def _losses(request: CreateWorkerRequest) -> Iterator[tuple[str, str]]:
    sandbox = request.sandbox
    if sandbox.profile is not SandboxProfile.PROCESS:
        yield f"sandbox.profile={sandbox.profile}", "this runtime starts workers in profile 'process' alone"
    elif request.control_context.requires_strict_sandbox:
        yield "control_context.requires_strict_sandbox", "profile 'process' is no sandbox"
    if sandbox.chroot or sandbox.rootfs is not None:
        yield "sandbox.rootfs", "profile 'process' runs on the host's root"
    if sandbox.namespaces is not None:
        yield "sandbox.namespaces", "profile 'process' unshares nothing"
    if request.limits.pids_max is not None:
        yield "limits.pids_max", "profile 'process' has no bound on the number of processes"


def _warnings(request: CreateWorkerRequest) -> Iterator[str]:
    if request.limits.cpu_time_sec is not None:
        yield "limits.cpu_time_sec holds for each process of the tree, not for their sum (RLIMIT_CPU)"
    if request.limits.memory_bytes is not None:
        yield "limits.memory_bytes holds for the data of each process, not for their sum (RLIMIT_DATA)"
