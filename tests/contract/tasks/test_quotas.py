"""Tasks within a capacity and within quotas (task contract, "Semantics")."""

from __future__ import annotations

from typing import Any

import pytest

from support.api import Api
from support.task_face import TaskFace, refusal

GIB = 1 << 30
FLAGS = [
    "--max-running-tasks=2",
    f"--capacity-memory={4 * GIB}",
    "--tenant=small=slots:1,memory:1073741824",
    "--grace-ms=200",
]
TRUE = {"kind": "command", "program": "true"}


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


def test_a_tenant_with_a_quota_shows_at_zero_use(api: Api) -> None:
    [small] = tenants(api)
    assert small["reserved"]["task_slots"] == 0
    assert small["quota"]["memory_bytes"] == GIB


def tenants(api: Api) -> Any:
    return [each for each in api.get("/api/v1/runtime/resources")["tenants"] if each["tenant"] == "small"]
