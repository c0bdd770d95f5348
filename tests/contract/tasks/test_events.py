"""A task's events (task contract, `GET /api/v1/tasks/:id/events`)."""

from __future__ import annotations

import pytest

from support.api import Api
from support.task_face import TaskFace

FLAGS = ["--grace-ms=200"]

BEGIN = ["submitted", "accepted", "planned", "resource_reserved", "started"]


@pytest.mark.parametrize(
    ("script", "limits", "last"),
    [
        ("exit 0", {}, ["resource_released", "finished"]),
        ("exit 1", {}, ["resource_released", "failed"]),
        ("sleep 60", {"wall_time_ms": 100}, ["timeout_triggered", "resource_released", "failed"]),
    ],
)
def test_every_step_is_told_once_and_in_order(
    tasks: TaskFace, script: str, limits: dict[str, int], last: list[str]
) -> None:
    task_id = tasks.ran(script, limits=limits)["task_id"]
    assert tasks.types(task_id) == [*BEGIN, *last]


def test_a_kill_is_told_before_the_end(tasks: TaskFace) -> None:
    task_id = tasks.sh("echo up; sleep 60")
    tasks.wait_running(task_id)
    tasks.kill(task_id)
    assert tasks.types(task_id) == [*BEGIN, "kill_requested", "resource_released", "cancelled"]


def test_a_launch_that_failed_was_never_started(tasks: TaskFace) -> None:
    task_id = tasks.submit("/no/such/program")
    tasks.finished(task_id)
    told = tasks.events(task_id)
    assert [event["event_type"] for event in told] == [*BEGIN[:-1], "resource_released", "failed"]
    assert "/no/such/program" in told[-1]["message"]


def test_an_event_has_its_number_its_time_and_its_facts(tasks: TaskFace) -> None:
    task_id = tasks.ran("exit 5")["task_id"]
    told = tasks.events(task_id)
    numbers = [event["seq"] for event in told]
    assert numbers == sorted(set(numbers))
    assert all(event["task_id"] == task_id for event in told)
    assert all(event["timestamp"].endswith("Z") for event in told)
    assert all(
        set(event) == {"seq", "task_id", "event_type", "timestamp", "message", "data"} for event in told
    )
    assert told[-1]["data"] == {"exit_code": 5, "exit_signal": None, "reason": "exited"}
    [reserved] = [event for event in told if event["event_type"] == "resource_reserved"]
    assert reserved["data"]["task_slots"] == 1


def test_what_a_task_says_is_no_event_of_its_life(tasks: TaskFace) -> None:
    said = '{"cursor":"x","payload":{"event":"finished","data":{}}}'
    task_id = tasks.ran(f"echo '{said}'; echo '{said}' >&2; seq 1 3000")["task_id"]
    assert tasks.types(task_id) == [*BEGIN, "resource_released", "finished"]


def test_a_degraded_plan_is_told(api: Api, tasks: TaskFace) -> None:
    asked = {"filesystem": "restricted", "profile": "linux_sandbox", "namespaces": {"net": True}}
    task_id = tasks.submit("true", sandbox=asked, limits={"pids_max": 100})
    said = tasks.finished(task_id)
    degraded = [event for event in tasks.events(task_id) if event["event_type"] == "degraded"]
    assert bool(degraded) == said["execution_plan"]["degraded"]
    for event in degraded:
        assert event["data"]["fallback_reasons"] == said["execution_plan"]["fallback_reasons"]
