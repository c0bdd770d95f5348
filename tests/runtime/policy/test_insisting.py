"""What a control plane insists on is there, or it is told: before anything is started."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.protocol.errors import UnsupportedCapability
from watchglass.protocol.execution import CapabilityMode, ExecutionPlan, Reservation
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.policy import resolve

from support.hosts import EVERYTHING, NOTHING
from support.workers import request_of

ADAPTIVE, STRICT = CapabilityMode.ADAPTIVE, CapabilityMode.STRICT
ALL = Reservation(task_slots=1, memory_bytes=1 << 26, pids=10)


def plan_of(
    mode: CapabilityMode, host: HostCapabilities, held: Reservation, profile: str = "process", **context: Any
) -> ExecutionPlan:
    request = request_of(execution={"program": "cat"}, sandbox={"profile": profile}, control_context=context)
    return resolve(request, mode, host, held)


@pytest.mark.parametrize("mode", CapabilityMode)
def test_a_reservation_that_is_required_is_one_of_memory_and_of_processes(mode: CapabilityMode) -> None:
    plan = plan_of(mode, EVERYTHING, ALL, requires_resource_reservation=True)
    assert not plan.degraded
    assert plan.features["control_context.requires_resource_reservation"].effective is True


@pytest.mark.parametrize("mode", CapabilityMode)
@pytest.mark.parametrize(
    ("held", "resource", "flag"),
    [
        (Reservation(task_slots=1), "memory_bytes", "--capacity-memory"),
        (Reservation(task_slots=1, pids=10), "memory_bytes", "--capacity-memory"),
        (Reservation(task_slots=1, memory_bytes=1 << 26), "pids", "--capacity-pids"),
    ],
)
def test_without_an_account_of_it_it_is_refused_in_any_mode(
    mode: CapabilityMode, held: Reservation, resource: str, flag: str
) -> None:
    with pytest.raises(UnsupportedCapability, match=f"{resource} is not accounted here.*{flag}") as refused:
        plan_of(mode, EVERYTHING, held, requires_resource_reservation=True)
    assert refused.value.feature == "control_context.requires_resource_reservation"
    assert not plan_of(mode, EVERYTHING, held).degraded


@pytest.mark.parametrize("mode", CapabilityMode)
@pytest.mark.parametrize("profile", ["process", "linux_sandbox"])
def test_the_expected_profile_is_no_news(mode: CapabilityMode, profile: str) -> None:
    plan = plan_of(mode, EVERYTHING, ALL, profile, expected_runtime_profile=profile)
    assert (plan.degraded, plan.capability_warnings) == (False, [])


@pytest.mark.parametrize("expected", ["linux_sandbox", "firecracker"])
def test_another_profile_than_expected_is_a_warning_and_no_loss(expected: str) -> None:
    plan = plan_of(ADAPTIVE, EVERYTHING, ALL, expected_runtime_profile=expected)
    assert (plan.degraded, plan.fallback_reasons) == (False, [])
    feature = "control_context.expected_runtime_profile"
    said = f"{expected!r} is expected, and it runs with profile 'process'"
    assert plan.capability_warnings == [f"{feature}: {said}"]


def test_another_profile_than_expected_is_refused_in_strict_mode() -> None:
    with pytest.raises(UnsupportedCapability, match="'linux_sandbox' is expected") as refused:
        plan_of(STRICT, EVERYTHING, ALL, expected_runtime_profile="linux_sandbox")
    assert refused.value.feature == "control_context.expected_runtime_profile"


def test_a_sandbox_that_was_lost_is_not_what_was_expected_either() -> None:
    plan = plan_of(ADAPTIVE, NOTHING, ALL, "linux_sandbox", expected_runtime_profile="linux_sandbox")
    assert plan.degraded
    assert [line.partition(":")[0] for line in plan.capability_warnings] == [
        "control_context.expected_runtime_profile"
    ]
