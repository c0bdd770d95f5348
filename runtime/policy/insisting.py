"""What a control plane insists on (`control_context` of a request), decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from watchglass.protocol.execution import ControlContext, Reservation, SandboxProfile

from .decision import Decision, lost

_ACCOUNTED_BY: Final = {"memory_bytes": "--capacity-memory", "pids": "--capacity-pids"}


def insisted(
    context: ControlContext, profile: SandboxProfile, held: Reservation | None, *, is_sandboxed: bool
) -> Iterator[Decision]:
    """Every decision about it; `profile` is the one that was asked for."""
    if context.requires_strict_sandbox and profile is SandboxProfile.PROCESS:
        feature = "control_context.requires_strict_sandbox"
        yield lost(feature, True, False, "profile 'process' is no sandbox", is_vital=True)
    if context.requires_resource_reservation:
        yield _reservation(held)
    if context.expected_runtime_profile is not None:
        yield _expected(context.expected_runtime_profile, is_sandboxed=is_sandboxed)


def _reservation(held: Reservation | None) -> Decision:
    """A slot is always reserved; memory and processes only where they are accounted."""
    feature = "control_context.requires_resource_reservation"
    for resource, flag in _ACCOUNTED_BY.items():
        if held is None or getattr(held, resource) is None:
            reason = f"{resource} is not accounted here; it takes {flag}, or a quota of the tenant with it"
            return lost(feature, True, False, reason, is_vital=True)
    return Decision(feature=feature, requested=True, effective=True, mechanism="ledger")


def _expected(expected: str, *, is_sandboxed: bool) -> Decision:
    given = SandboxProfile.LINUX_SANDBOX if is_sandboxed else SandboxProfile.PROCESS
    is_met = expected == given.value
    return Decision(
        feature="control_context.expected_runtime_profile",
        requested=expected,
        effective=given.value,
        reason=None if is_met else f"{expected!r} is expected, and it runs with profile {given.value!r}",
        is_unexpected=not is_met,
    )
