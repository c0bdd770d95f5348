"""From what was asked to what is given: pure, so that a plan can be had without a worker.

`adaptive` gives what the host can and tells one reason for each thing lost;
`strict` refuses instead. A feature that nobody asked for never degrades a plan.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchglass.protocol.errors import UnsupportedCapability
from watchglass.protocol.execution import CapabilityMode, ExecutionPlan, Reservation
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.ledger import held_to
from watchglass.store.numbering import rfc3339

from .budget import budget, enforcement
from .decision import Decision
from .insisting import insisted
from .isolation import effective_sandbox, isolation, sandboxed

_VITAL = "nothing less can stand for it"


def resolve(
    request: CreateWorkerRequest,
    default_mode: CapabilityMode,
    host: HostCapabilities,
    held: Reservation | None = None,
    *,
    all_own_uids: bool = False,
) -> ExecutionPlan:
    """The plan of a worker with an execution on this host.

    `held` is what the ledger is to hold for it. Of a limit that nobody asked for the
    worker is held to that, as far as the host can: it never degrades the plan.
    With `all_own_uids` a user of its own is asked for it, whatever the request says.

    Raises:
        UnsupportedCapability: Strict mode, and something is not to be had; or, in
            any mode, something that nothing less can stand for (`network: proxy`).
    """
    mode = _mode(request, default_mode)
    decisions = {
        decision.feature: decision for decision in _decisions(request, host, held, all_own_uids=all_own_uids)
    }
    losses = [decision for decision in decisions.values() if decision.is_lost]
    _refuse([*decisions.values()], mode)
    return ExecutionPlan(
        capability_mode=mode,
        requested_sandbox=request.sandbox,
        effective_sandbox=effective_sandbox(request.sandbox, decisions),
        resource_enforcement=enforcement(held_to(request.limits, held), decisions),
        degraded=bool(losses),
        fallback_reasons=[decision.told for decision in losses],
        capability_warnings=[decision.told for decision in decisions.values() if decision.is_weak],
        features={feature: decision.row() for feature, decision in decisions.items()},
        probed_at=rfc3339(host.collected_at_us),
    )


def _mode(request: CreateWorkerRequest, default_mode: CapabilityMode) -> CapabilityMode:
    if request.control_context.requires_strict_sandbox:
        return CapabilityMode.STRICT
    return request.policy.capability_mode or default_mode


def _decisions(
    request: CreateWorkerRequest, host: HostCapabilities, held: Reservation | None, *, all_own_uids: bool
) -> Iterator[Decision]:
    sandbox = request.sandbox
    isolated = list(isolation(sandbox, host.sandbox, all_own_uids=all_own_uids))
    yield from isolated
    is_sandboxed = sandboxed(sandbox, host.sandbox)
    yield from insisted(request.control_context, sandbox.profile, held, is_sandboxed=is_sandboxed)
    has_own_uid = any(each.feature == "sandbox.own_uid" and each.effective for each in isolated)
    is_counted_alone = has_own_uid or (is_sandboxed and bool(host.sandbox.own_count))
    yield from budget(request.limits, host.limits, held, is_counted_alone=is_counted_alone)


def _refuse(decisions: list[Decision], mode: CapabilityMode) -> None:
    """Raises UnsupportedCapability for the first one that cannot be borne; no mode bears a vital loss."""
    for decision in decisions:
        if decision.is_vital:
            raise UnsupportedCapability(decision.feature, decision.reason or "", _VITAL)
    for decision in decisions:
        if mode is CapabilityMode.STRICT and (decision.is_lost or decision.is_unexpected):
            raise UnsupportedCapability(decision.feature, decision.reason or "")
