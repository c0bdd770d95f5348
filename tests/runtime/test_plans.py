"""A request is planned once for a host: whoever says the same gets the same plan."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.protocol.errors import UnsupportedCapability
from watchglass.protocol.execution import CapabilityMode, ExecutionPlan, Reservation
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.options import RuntimeOptions
from watchglass.runtime.plans import PLANS_MAX, Plans
from watchglass.runtime.policy import resolve

from support.hosts import EVERYTHING, NOTHING
from support.workers import request_of

CAT = {"program": "cat"}
SANDBOX = {"profile": "linux_sandbox"}


class Host:
    """What it can do, until somebody finds out anew."""

    def __init__(self) -> None:
        self.now: HostCapabilities = EVERYTHING
        self.plans = Plans(RuntimeOptions(), lambda: self.now)

    def plan(self, held: Reservation | None = None, **asked: Any) -> ExecutionPlan:
        return self.plans.plan(request_of(execution=CAT, **asked), held)


def test_requests_that_ask_for_the_same_share_a_plan() -> None:
    host = Host()
    assert host.plan(sandbox=SANDBOX) is host.plan(sandbox=SANDBOX, metadata={"a": "b"})
    asked = request_of(execution=CAT, sandbox=SANDBOX)
    assert host.plan(sandbox=SANDBOX) == resolve(asked, CapabilityMode.ADAPTIVE, EVERYTHING)


@pytest.mark.parametrize(
    "asked",
    [
        {"sandbox": {"profile": "process"}},
        {"sandbox": SANDBOX, "limits": {"pids_max": 3}},
        {"sandbox": SANDBOX, "policy": {"capability_mode": "strict"}},
        {"sandbox": SANDBOX, "control_context": {"requires_strict_sandbox": True}},
        {"sandbox": SANDBOX, "held": Reservation(task_slots=1, memory_bytes=1 << 26)},
    ],
)
def test_whatever_a_plan_depends_on_makes_another(asked: dict[str, Any]) -> None:
    host = Host()
    assert host.plan(sandbox=SANDBOX) is not host.plan(**asked)


def test_a_host_that_was_looked_at_anew_is_planned_for_anew() -> None:
    host = Host()
    before = host.plan(sandbox=SANDBOX)
    host.now = NOTHING
    after = host.plan(sandbox=SANDBOX)
    assert (before.degraded, after.degraded) == (False, True)


def test_users_that_the_operator_asks_for_are_in_each_plan_strict_or_not() -> None:
    def plan(host: HostCapabilities, **asked: Any) -> ExecutionPlan:
        plans = Plans(RuntimeOptions(worker_uids="all"), lambda: host)
        return plans.plan(request_of(execution=CAT, **asked), None)

    strict = {"policy": {"capability_mode": "strict"}}
    assert plan(EVERYTHING, **strict).features["sandbox.own_uid"].effective is True
    assert plan(NOTHING).fallback_reasons == ["sandbox.own_uid: not here"]
    with pytest.raises(UnsupportedCapability) as refused:
        plan(NOTHING, **strict)
    assert refused.value.feature == "sandbox.own_uid"


def test_a_refusal_is_no_plan() -> None:
    host = Host()
    host.now = NOTHING
    for _ in range(2):
        with pytest.raises(UnsupportedCapability):
            host.plan(sandbox=SANDBOX, policy={"capability_mode": "strict"})


def test_so_many_plans_are_kept_and_no_more() -> None:
    host = Host()
    first = host.plan(sandbox=SANDBOX)
    for pids_max in range(1, PLANS_MAX + 1):
        host.plan(limits={"pids_max": pids_max})
    again = host.plan(sandbox=SANDBOX)
    assert again == first
    assert again is not first
