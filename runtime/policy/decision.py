"""One row of a plan: a feature, what was asked of it, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass

from watchglass.protocol.execution import Enforcement, PlanFeature
from watchglass.runtime.capabilities import Found

Value = str | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of one feature.

    `is_lost`: it was asked for and is not given as asked; `reason` then says why.
    `is_vital`: without it the worker does not start, whatever the mode.
    `is_unexpected`: nothing is lost, but it is not what the caller counts on; `reason` says
    so. Strict refuses it, adaptive warns.
    Of a feature that is given, `reason` says what is weak about it.
    """

    feature: str
    requested: Value = None
    effective: Value
    mechanism: str | None = None
    enforced: Enforcement = Enforcement.NONE
    reason: str | None = None
    is_lost: bool = False
    is_vital: bool = False
    is_unexpected: bool = False

    @property
    def told(self) -> str:
        """Feature and reason as one line of a plan."""
        return f"{self.feature}: {self.reason}"

    @property
    def is_weak(self) -> bool:
        """It was asked for and is given, but not without a reservation; or it is not what was expected."""
        return self.requested is not None and not self.is_lost and self.reason is not None

    def row(self) -> PlanFeature:
        """As the plan shows it."""
        return PlanFeature(
            requested=self.requested,
            effective=self.effective,
            mechanism=self.mechanism,
            enforced=self.enforced,
            reason=self.reason,
        )


def given(feature: str, requested: Value, effective: Value, found: Found) -> Decision:
    """It is given, and enforced by what was found."""
    return Decision(
        feature=feature,
        requested=requested,
        effective=effective,
        mechanism=found.mechanism,
        enforced=Enforcement.HARD,
        reason=found.reason,
    )


def always(feature: str, found: Found) -> Decision:
    """Given wherever it can be; nobody can ask for it."""
    return Decision(
        feature=feature,
        effective=bool(found),
        mechanism=found.mechanism,
        enforced=Enforcement.HARD if found else Enforcement.NONE,
        reason=found.reason,
    )


def lost(
    feature: str, requested: Value, effective: Value, reason: str | None, *, is_vital: bool = False
) -> Decision:
    """It was asked for, and nothing of it is given."""
    return Decision(
        feature=feature,
        requested=requested,
        effective=effective,
        reason=reason or "this host cannot give it",
        is_lost=True,
        is_vital=is_vital,
    )
