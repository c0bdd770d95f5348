"""From what was asked to what is given: pure, so that a plan can be had without a worker.

`adaptive` gives what the host can and tells one reason for each thing lost;
`strict` refuses instead. A feature that nobody asked for never degrades a plan.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchglass.protocol.errors import UnsupportedCapability
from watchglass.protocol.execution import CapabilityMode, ControlContext, ExecutionPlan, SandboxProfile
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime.capabilities import HostCapabilities

from .budget import budget, enforcement
from .decision import Decision, lost
from .isolation import effective_sandbox, isolation, sandboxed

_VITAL = "nothing less can stand for it"


def resolve(
    request: CreateWorkerRequest, default_mode: CapabilityMode, host: HostCapabilities
) -> ExecutionPlan:
    """The plan of a worker with an execution on this host.

    Raises:
        UnsupportedCapability: Strict mode, and something is not to be had; or, in
            any mode, something that nothing less can stand for (`network: proxy`).
    """
    mode = _mode(request, default_mode)
    decisions = {decision.feature: decision for decision in _decisions(request, host)}
    losses = [decision for decision in decisions.values() if decision.is_lost]
    _refuse(losses, mode)
    return ExecutionPlan(
        capability_mode=mode,
        requested_sandbox=request.sandbox,
        effective_sandbox=effective_sandbox(request.sandbox, decisions),
        resource_enforcement=enforcement(request.limits, decisions),
        degraded=bool(losses),
        fallback_reasons=[decision.told for decision in losses],
        capability_warnings=[decision.told for decision in decisions.values() if decision.is_weak],
        features={feature: decision.row() for feature, decision in decisions.items()},
    )


def _mode(request: CreateWorkerRequest, default_mode: CapabilityMode) -> CapabilityMode:
    if request.control_context.requires_strict_sandbox:
        return CapabilityMode.STRICT
    return request.policy.capability_mode or default_mode


def _decisions(request: CreateWorkerRequest, host: HostCapabilities) -> Iterator[Decision]:
    yield from isolation(request.sandbox, host.sandbox)
    yield from _folder(request, is_sandboxed=sandboxed(request.sandbox, host.sandbox))
    yield from _insisted(request.control_context, request.sandbox.profile)
    yield from budget(request.limits, host.limits)


def _folder(request: CreateWorkerRequest, *, is_sandboxed: bool) -> Iterator[Decision]:
    asked = None if request.execution is None else request.execution.cwd
    if asked is not None and is_sandboxed:
        yield lost("execution.cwd", asked, None, "a sandboxed worker starts in its workspace")


def _insisted(context: ControlContext, profile: SandboxProfile) -> Iterator[Decision]:
    if context.requires_strict_sandbox and profile is SandboxProfile.PROCESS:
        feature = "control_context.requires_strict_sandbox"
        yield lost(feature, True, False, "profile 'process' is no sandbox", is_vital=True)


def _refuse(losses: list[Decision], mode: CapabilityMode) -> None:
    """Raises UnsupportedCapability for the first loss that cannot be borne; no mode bears a vital one."""
    for decision in losses:
        if decision.is_vital:
            raise UnsupportedCapability(decision.feature, decision.reason or "", _VITAL)
    if losses and mode is CapabilityMode.STRICT:
        raise UnsupportedCapability(losses[0].feature, losses[0].reason or "")
