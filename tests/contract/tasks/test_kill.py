"""Ending a task from outside (task contract, `POST /api/v1/tasks/:id/kill`)."""

from __future__ import annotations

from support.api import Api
from support.processes import marked
from support.task_face import TaskFace, refusal

FLAGS = ["--grace-ms=1500", "--max-running-tasks=1", "--runtime-id=rt-task-kill"]


def test_a_running_task_gets_sigterm_and_is_cancelled(tasks: TaskFace) -> None:
    task_id = tasks.sh("trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.05; done")
    tasks.wait_running(task_id)
    said = tasks.kill(task_id).json
    assert (said["status"], said["error"]["code"], said["exit_code"]) == ("cancelled", "cancelled", 7)
    assert said["stdout"] == "up\nasked\n"
    assert marked("rt-task-kill", task_id) == set()


def test_a_deaf_task_gets_sigkill_after_the_grace(tasks: TaskFace) -> None:
    task_id = tasks.sh("trap '' TERM; echo up; while :; do sleep 0.05; done")
    tasks.wait_running(task_id)
    said = tasks.kill(task_id).json
    assert (said["status"], said["exit_code"], said["exit_signal"]) == ("cancelled", None, 9)


def test_a_task_that_waits_is_cancelled_at_once_and_never_starts(api: Api, tasks: TaskFace) -> None:
    running = tasks.sh("echo up; sleep 60")
    tasks.wait_running(running)
    waiting = tasks.sh("echo never")
    assert tasks.status(waiting)["status"] == "accepted"
    assert api.get("/api/v1/runtime/resources")["accepted_waiting_tasks"] == 1
    said = tasks.kill(waiting).json
    assert (said["status"], said["error"]["code"], said["started_at"]) == ("cancelled", "cancelled", None)
    assert (said["stdout"], said["reservation"]) == ("", None)
    assert tasks.types(waiting) == ["submitted", "accepted", "planned", "kill_requested", "cancelled"]
    assert tasks.kill(running).json["status"] == "cancelled"


def test_a_finished_task_gets_no_signal_and_stays_as_it_was(tasks: TaskFace) -> None:
    for script in ("exit 0", "exit 3"):
        before = tasks.ran(script)
        answer = tasks.kill(before["task_id"])
        assert (answer.status, answer.json) == (200, before)
        assert "kill_requested" not in tasks.types(before["task_id"])


def test_a_task_with_an_owner_is_killed_by_its_owner_alone(tasks: TaskFace) -> None:
    task_id = tasks.sh("echo up; sleep 60", control_context={"owner": "anna"})
    tasks.wait_running(task_id)
    for somebody in (None, "berta", ""):
        answer = tasks.kill(task_id, somebody)
        status, code, details = refusal(answer)
        assert (status, code, details["owner"]) == (403, "permission_denied", "anna")
        assert answer.message.startswith("kill requires owner 'anna'")
    assert tasks.status(task_id)["status"] == "running"
    assert tasks.kill(task_id, "anna").json["status"] == "cancelled"


def test_a_reason_is_told_by_the_events(api: Api, tasks: TaskFace) -> None:
    task_id = tasks.sh("echo up; sleep 60")
    tasks.wait_running(task_id)
    api.post(f"/api/v1/tasks/{task_id}/kill", {"reason": "too slow"})
    [asked] = [event for event in tasks.events(task_id) if event["event_type"] == "kill_requested"]
    assert asked["message"] == "too slow"
