"""From what was asked to what is given: each loss is told, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import UnsupportedCapability
from watchglass.protocol.execution import CapabilityMode, Enforcement, ExecutionPlan, Network, SandboxProfile
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.policy import resolve

from support.hosts import EVERYTHING, NOT_HERE, NOTHING, hosts, limits_with, sandbox_with
from support.workers import request_of

CAT = {"program": "cat"}
ADAPTIVE, STRICT = CapabilityMode.ADAPTIVE, CapabilityMode.STRICT
LOSSES: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"sandbox": {"profile": "linux_sandbox"}},
        ["sandbox.profile", "sandbox.network", "sandbox.filesystem", "sandbox.seccomp"],
    ),
    ({"sandbox": {"rootfs": "/srv/root"}}, ["sandbox.rootfs"]),
    ({"sandbox": {"network": "none"}}, ["sandbox.network"]),
    ({"sandbox": {"filesystem": "restricted"}}, ["sandbox.filesystem"]),
    (
        {"sandbox": {"namespaces": {"uts": False, "ipc": False}}},
        ["sandbox.namespaces.mount", "sandbox.namespaces.pid"],
    ),
    ({"limits": {"memory_bytes": 1 << 26}}, ["limits.memory_bytes"]),
    ({"limits": {"pids_max": 10}}, ["limits.pids_max"]),
]
"""What is asked for, and what of it a host loses that can do nothing."""


def _agrees_with_itself(sandbox: dict[str, Any]) -> bool:
    return sandbox.get("network") != "host" or not sandbox.get("namespaces", {}).get("net")


flags = st.booleans()
sandboxes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"profile": st.sampled_from(["process", "linux_sandbox"])},
    optional={
        "workspace_subdir": st.just("a/b"),
        "rootfs": st.just("/srv/root"),
        "namespaces": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("mount", "pid", "uts", "ipc"), flags) | {"net": flags}
        ),
        "network": st.sampled_from(["none", "host", "proxy"]),
        "filesystem": st.sampled_from(["host", "restricted"]),
    },
)
budgets = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("wall_time_ms", "cpu_time_sec", "memory_bytes", "pids_max", "stdout_max_bytes"),
        st.integers(1, 1 << 40),
    ),
)
requests = st.fixed_dictionaries({"sandbox": sandboxes.filter(_agrees_with_itself), "limits": budgets})


def plan_of(
    mode: CapabilityMode = ADAPTIVE, host: HostCapabilities = NOTHING, **fields: Any
) -> ExecutionPlan:
    return resolve(request_of(execution=CAT, **fields), mode, host)


def features_of(reasons: list[str]) -> list[str]:
    return [reason.partition(": ")[0] for reason in reasons]


def plan_or_refusal(
    mode: CapabilityMode, host: HostCapabilities, asked: dict[str, Any]
) -> ExecutionPlan | UnsupportedCapability:
    try:
        return plan_of(mode, host, **asked)
    except UnsupportedCapability as refused:
        return refused


@pytest.mark.parametrize("mode", CapabilityMode)
@pytest.mark.parametrize("host", [EVERYTHING, NOTHING])
def test_what_nobody_asked_for_never_degrades_a_plan(mode: CapabilityMode, host: HostCapabilities) -> None:
    plan = plan_of(mode, host)
    assert plan.capability_mode is mode
    assert not plan.degraded
    assert plan.fallback_reasons == plan.capability_warnings == []


@pytest.mark.parametrize(("asked", "features"), LOSSES)
def test_adaptive_degrades_and_gives_one_reason_for_each_thing_lost(
    asked: dict[str, Any], features: list[str]
) -> None:
    plan = plan_of(**asked)
    assert plan.degraded
    assert features_of(plan.fallback_reasons) == features
    assert plan.effective_sandbox.profile is SandboxProfile.PROCESS


@pytest.mark.parametrize(("asked", "features"), LOSSES)
def test_strict_refuses_and_names_the_feature(asked: dict[str, Any], features: list[str]) -> None:
    with pytest.raises(UnsupportedCapability, match="capability_mode is strict") as refused:
        plan_of(STRICT, **asked)
    assert refused.value.feature == features[0]


@pytest.mark.parametrize(
    "asked",
    [
        {"sandbox": {"profile": "linux_sandbox"}},
        {"sandbox": {"profile": "linux_sandbox", "rootfs": "/srv/root", "namespaces": {"net": True}}},
        {"sandbox": {"filesystem": "restricted"}},
        {"limits": {"memory_bytes": 1 << 26, "pids_max": 10, "cpu_time_sec": 1}},
    ],
)
@pytest.mark.parametrize("mode", CapabilityMode)
def test_a_host_that_can_do_all_gives_all(asked: dict[str, Any], mode: CapabilityMode) -> None:
    plan = plan_of(mode, EVERYTHING, **asked)
    assert (plan.degraded, plan.capability_warnings) == (False, [])


@given(hosts, requests)
def test_strict_has_no_plan_with_a_loss(host: HostCapabilities, asked: dict[str, Any]) -> None:
    adaptive = plan_or_refusal(ADAPTIVE, host, asked)
    strict = plan_or_refusal(STRICT, host, asked)
    if isinstance(strict, ExecutionPlan):
        assert not strict.degraded
        assert strict == adaptive.model_copy(update={"capability_mode": STRICT})  # type: ignore[union-attr]
    elif isinstance(adaptive, ExecutionPlan):
        assert strict.feature in features_of(adaptive.fallback_reasons)


@given(hosts, requests)
def test_adaptive_refuses_nothing_but_the_proxy(host: HostCapabilities, asked: dict[str, Any]) -> None:
    plan = plan_or_refusal(ADAPTIVE, host, asked)
    if isinstance(plan, UnsupportedCapability):
        assert (plan.feature, asked["sandbox"]["network"]) == ("sandbox.network", "proxy")


@given(hosts, requests)
def test_every_loss_is_told_once_and_only_of_what_was_asked(
    host: HostCapabilities, asked: dict[str, Any]
) -> None:
    plan = plan_or_refusal(ADAPTIVE, host, asked)
    if isinstance(plan, UnsupportedCapability):
        return
    told = features_of(plan.fallback_reasons)
    assert plan.degraded == bool(told)
    assert len(told) == len(set(told))
    warned = features_of(plan.capability_warnings)
    assert not set(told) & set(warned)
    for feature in (*told, *warned):
        assert plan.features[feature].requested not in {None, False}
        assert plan.features[feature].reason
    for feature, row in plan.features.items():
        is_less = row.requested not in {None, False, "host"} and row.effective != row.requested
        assert not is_less or feature in told


@given(hosts, requests)
def test_the_contract_s_fields_say_what_the_features_say(
    host: HostCapabilities, asked: dict[str, Any]
) -> None:
    plan = plan_or_refusal(ADAPTIVE, host, asked)
    if isinstance(plan, UnsupportedCapability):
        return
    features, given, limits = plan.features, plan.effective_sandbox, plan.resource_enforcement
    assert given.profile == features["sandbox.profile"].effective
    for name in ("network", "filesystem"):
        row = features.get(f"sandbox.{name}")
        assert getattr(given, name) == ("host" if row is None else row.effective)
    unshared = {} if given.namespaces is None else given.namespaces.model_dump(exclude={"net"})
    assert unshared == {
        feature.rpartition(".")[2]: row.effective
        for feature, row in features.items()
        if feature.startswith("sandbox.namespaces.") and given.namespaces is not None
    }
    for name, held in (
        ("memory_bytes", limits.memory_enforced),
        ("pids_max", limits.pids_enforced),
        ("cpu_time_sec", limits.cpu_time_enforced),
    ):
        row = features.get(f"limits.{name}")
        assert held == (row is not None and row.enforced is not Enforcement.NONE)
        assert getattr(limits, name) == asked["limits"].get(name)
    assert not limits.oom_detection or features["limits.oom_detection"].effective


def test_the_request_s_mode_is_stronger_than_the_runtime_s() -> None:
    loss: dict[str, Any] = {"limits": {"pids_max": 10}}
    assert plan_of(STRICT, policy={"capability_mode": "adaptive"}, **loss).degraded
    with pytest.raises(UnsupportedCapability):
        plan_of(STRICT, **loss)


def test_who_requires_a_strict_sandbox_gets_none_from_profile_process_whatever_the_mode() -> None:
    with pytest.raises(UnsupportedCapability, match=r"control_context\.requires_strict_sandbox"):
        plan_of(
            host=EVERYTHING,
            policy={"capability_mode": "adaptive"},
            control_context={"requires_strict_sandbox": True},
        )


def test_who_requires_a_strict_sandbox_is_refused_what_is_less() -> None:
    asked: dict[str, Any] = {
        "sandbox": {"profile": "linux_sandbox"},
        "control_context": {"requires_strict_sandbox": True},
    }
    assert plan_of(host=EVERYTHING, **asked).capability_mode is STRICT
    with pytest.raises(UnsupportedCapability):
        plan_of(**asked)


@pytest.mark.parametrize("mode", CapabilityMode)
@pytest.mark.parametrize("profile", ["process", "linux_sandbox"])
def test_an_open_network_never_stands_for_the_proxy(mode: CapabilityMode, profile: str) -> None:
    with pytest.raises(UnsupportedCapability, match="nothing less can stand for it") as refused:
        plan_of(mode, sandbox={"profile": profile, "network": "proxy", "network_allow": ["pypi.org:443"]})
    assert refused.value.feature == "sandbox.network"


def test_the_proxy_is_given_where_it_was_found() -> None:
    asked = {"profile": "linux_sandbox", "network": "proxy", "network_allow": ["pypi.org:443"]}
    given = plan_of(STRICT, EVERYTHING, sandbox=asked).effective_sandbox
    assert (given.network, given.network_allow) == (Network.PROXY, ["pypi.org:443"])


def test_the_plan_keeps_what_was_asked_beside_what_is_given() -> None:
    plan = plan_of(sandbox={"profile": "linux_sandbox", "workspace_subdir": "a/b"})
    assert plan.requested_sandbox.profile is SandboxProfile.LINUX_SANDBOX
    assert plan.effective_sandbox.workspace_subdir == "a/b"


def test_without_a_group_processes_are_counted_in_a_sandbox_that_the_kernel_counts_by_itself() -> None:
    no_groups = limits_with(NOT_HERE)
    counting = HostCapabilities(sandbox=sandbox_with(own_uid=NOT_HERE), limits=no_groups)
    shut_in: dict[str, Any] = {"sandbox": {"profile": "linux_sandbox"}, "limits": {"pids_max": 10}}
    assert plan_of(host=counting, **shut_in).resource_enforcement.pids_enforced
    assert not plan_of(host=counting, limits={"pids_max": 10}).resource_enforcement.pids_enforced
    sandbox = sandbox_with(own_uid=NOT_HERE, own_count=NOT_HERE)
    not_counting = HostCapabilities(sandbox=sandbox, limits=no_groups)
    assert not plan_of(host=not_counting, **shut_in).resource_enforcement.pids_enforced


def test_a_host_that_nobody_probed_can_do_nothing_and_says_so() -> None:
    plan = plan_of(host=HostCapabilities(), limits={"pids_max": 10})
    assert plan.fallback_reasons == ["limits.pids_max: not probed"]
