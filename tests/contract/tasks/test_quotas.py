"""Tasks within a capacity and within quotas (task contract, "Semantics")."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from support.api import Api
from support.task_face import TaskFace, refusal

GIB = 1 << 30
DEFAULT = 64 << 20
FLAGS = [
    "--max-running-tasks=2",
    f"--capacity-memory={4 * GIB}",
    f"--default-memory={DEFAULT}",
    "--tenant=small=slots:1,memory:1073741824",
    "--grace-ms=200",
]
TRUE = {"kind": "command", "program": "true"}
TOGETHER_TOO_MUCH = """
import os, signal
for _ in range(3):
    if os.fork() == 0:
        kept = bytearray(b"x" * (24 << 20))
        signal.pause()
os.wait()
os._exit(5)
"""


@pytest.mark.parametrize(
    ("asked", "tenant", "capacity"),
    [(5 * GIB, None, 4 * GIB), (5 * GIB, "other", 4 * GIB), (2 * GIB, "small", GIB)],
)
def test_more_than_there_is_in_all_is_refused_at_submit(
    api: Api, asked: int, tenant: str | None, capacity: int
) -> None:
    body = {"execution": TRUE, "limits": {"memory_bytes": asked}, "control_context": {"tenant": tenant}}
    status, code, details = refusal(api.request("POST", "/api/v1/tasks", body))
    assert (status, code) == (400, "insufficient_resources")
    assert (details["resource"], details["asked"], details["capacity"]) == ("memory_bytes", asked, capacity)


def test_a_tenant_over_its_quota_only_waits(api: Api, tasks: TaskFace) -> None:
    limits = {"memory_bytes": GIB}
    first = tasks.sh("echo up; sleep 60", control_context={"tenant": "small"}, limits=limits)
    held = tasks.wait_running(first)
    assert held["reservation"]["memory_bytes"] == GIB
    second = tasks.sh("echo second", control_context={"tenant": "small"}, limits=limits)
    assert tasks.ran("echo other")["status"] == "success"
    assert tasks.status(second)["status"] == "accepted"
    [small] = tenants(api)
    assert (small["quota"]["task_slots"], small["reserved"]["task_slots"]) == (1, 1)
    assert small["available"]["task_slots"] == 0
    tasks.kill(first)
    final = tasks.finished(second)
    assert (final["stdout"], final["reservation"]["memory_bytes"]) == ("second\n", GIB)


def test_a_task_without_a_limit_is_told_of_the_default_that_it_passed(tasks: TaskFace) -> None:
    """With a control group the kernel kills one of the three, without one their sum is noticed."""
    held = tasks.finished(tasks.submit(sys.executable, "-I", "-S", "-c", TOGETHER_TOO_MUCH))
    assert held["reservation"]["memory_bytes"] == DEFAULT
    assert (held["status"], held["error"]["code"]) == ("failed", "memory_limit_exceeded")
    assert held["error"]["message"] == f"the task used more than {DEFAULT} bytes of memory"


def test_a_tenant_with_a_quota_shows_at_zero_use(api: Api) -> None:
    [small] = tenants(api)
    assert small["reserved"]["task_slots"] == 0
    assert small["quota"]["memory_bytes"] == GIB


def tenants(api: Api) -> Any:
    return [each for each in api.get("/api/v1/runtime/resources")["tenants"] if each["tenant"] == "small"]


def test_a_default_that_the_ledger_imposes_is_in_the_plan_and_degrades_nothing(tasks: TaskFace) -> None:
    said = tasks.ran("true")
    held = said["reservation"]["memory_bytes"]
    assert held == DEFAULT
    plan = said["execution_plan"]
    assert plan["resource_enforcement"]["memory_bytes"] == held
    assert plan["resource_enforcement"]["memory_enforced"] is True
    assert plan["features"]["limits.memory_bytes"]["requested"] is None
    assert (plan["degraded"], plan["fallback_reasons"]) == (False, [])


def test_a_reservation_that_is_required_and_not_accounted_is_refused(api: Api) -> None:
    body = {"execution": TRUE, "control_context": {"requires_resource_reservation": True}}
    status, code, details = refusal(api.request("POST", "/api/v1/tasks", body))
    assert (status, code) == (400, "unsupported_capability")
    assert details["feature"] == "control_context.requires_resource_reservation"
    assert details["reason"].startswith("pids is not accounted here")


@pytest.mark.parametrize(("mode", "status"), [("adaptive", 200), ("strict", 400)])
def test_another_profile_than_expected_is_for_adaptive_alone(api: Api, mode: str, status: int) -> None:
    body = {
        "execution": TRUE,
        "policy": {"capability_mode": mode},
        "control_context": {"expected_runtime_profile": "linux_sandbox"},
    }
    answer = api.request("POST", "/api/v1/tasks", body)
    assert answer.status == status
    if status == 400:
        assert refusal(answer)[1] == "unsupported_capability"
