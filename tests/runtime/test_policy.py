"""From what was asked to what is given: each loss is told, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.protocol.errors import UnsupportedCapability
from watchglass.protocol.execution import CapabilityMode, ExecutionPlan, SandboxProfile
from watchglass.runtime.policy import resolve

from support.workers import request_of

CAT = {"program": "cat"}
LOSSES: list[tuple[dict[str, Any], str]] = [
    ({"sandbox": {"profile": "linux_sandbox"}}, "sandbox.profile=linux_sandbox"),
    ({"sandbox": {"rootfs": "/srv/root"}}, "sandbox.rootfs"),
    ({"sandbox": {"namespaces": {}}}, "sandbox.namespaces"),
    ({"limits": {"pids_max": 10}}, "limits.pids_max"),
]


def plan_of(mode: CapabilityMode = CapabilityMode.ADAPTIVE, **fields: Any) -> ExecutionPlan:
    return resolve(request_of(execution=CAT, **fields), mode)


@pytest.mark.parametrize("mode", CapabilityMode)
def test_a_budget_that_nobody_asked_for_never_degrades_a_plan(mode: CapabilityMode) -> None:
    plan = plan_of(mode)
    assert plan.capability_mode is mode
    assert not plan.degraded
    assert plan.fallback_reasons == plan.capability_warnings == []


@pytest.mark.parametrize(("fields", "feature"), LOSSES)
def test_adaptive_degrades_and_gives_one_reason_for_each_thing_lost(
    fields: dict[str, Any], feature: str
) -> None:
    plan = plan_of(**fields)
    assert plan.degraded
    [reason] = plan.fallback_reasons
    assert reason.startswith(f"{feature}: ")
    assert plan.effective_sandbox.profile is SandboxProfile.PROCESS


def test_every_loss_is_told_not_only_the_first() -> None:
    plan = plan_of(
        sandbox={"profile": "linux_sandbox", "rootfs": "/srv/root", "chroot": True, "namespaces": {}},
        limits={"pids_max": 10},
    )
    assert [reason.partition(":")[0] for reason in plan.fallback_reasons] == [
        feature for _, feature in LOSSES
    ]


@pytest.mark.parametrize(("fields", "feature"), LOSSES)
def test_strict_refuses_and_names_the_feature(fields: dict[str, Any], feature: str) -> None:
    with pytest.raises(UnsupportedCapability) as refused:
        plan_of(policy={"capability_mode": "strict"}, **fields)
    assert refused.value.feature == feature
    assert feature in str(refused.value)


def test_the_request_s_mode_is_stronger_than_the_runtime_s() -> None:
    loss = {"limits": {"pids_max": 10}}
    assert plan_of(CapabilityMode.STRICT, policy={"capability_mode": "adaptive"}, **loss).degraded
    with pytest.raises(UnsupportedCapability):
        plan_of(CapabilityMode.STRICT, **loss)


def test_who_requires_a_strict_sandbox_gets_none_from_this_profile_whatever_the_mode() -> None:
    with pytest.raises(UnsupportedCapability, match=r"control_context\.requires_strict_sandbox"):
        plan_of(policy={"capability_mode": "adaptive"}, control_context={"requires_strict_sandbox": True})


def test_the_plan_tells_which_limits_hold_and_which_are_only_written_down() -> None:
    limits = {"wall_time_ms": 5, "cpu_time_sec": 6, "memory_bytes": 7, "pids_max": 8}
    enforced = plan_of(limits=limits).resource_enforcement
    assert enforced.model_dump(include=set(limits)) == limits
    assert (enforced.cpu_time_enforced, enforced.memory_enforced, enforced.pids_enforced) == (
        True,
        True,
        False,
    )
    nothing = plan_of().resource_enforcement
    assert (nothing.cpu_time_enforced, nothing.memory_enforced, nothing.pids_enforced) == (
        False,
        False,
        False,
    )


def test_a_limit_that_holds_for_each_process_alone_is_a_warning() -> None:
    warnings = plan_of(limits={"cpu_time_sec": 6, "memory_bytes": 7}).capability_warnings
    assert [warning.partition(" ")[0] for warning in warnings] == [
        "limits.cpu_time_sec",
        "limits.memory_bytes",
    ]


def test_the_plan_keeps_what_was_asked_beside_what_is_given() -> None:
    plan = plan_of(sandbox={"profile": "linux_sandbox", "workspace_subdir": "a/b"})
    assert plan.requested_sandbox.profile is SandboxProfile.LINUX_SANDBOX
    assert plan.effective_sandbox.workspace_subdir == "a/b"
