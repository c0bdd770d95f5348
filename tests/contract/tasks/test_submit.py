"""What a task may be asked for, and what becomes of it (task contract, "Requests")."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.api import Api
from support.task_face import TaskFace


def kept_request(said: Any) -> Any:
    return json.loads(Path(said["artifacts"]["request_path"]).read_text())


def test_an_answer_says_that_the_task_is_accepted(api: Api, tasks: TaskFace) -> None:
    request = {"task_id": "my-task_1.a", "execution": {"kind": "command", "program": "true"}}
    answer = api.post("/api/v1/tasks", request)
    assert answer == {"task_id": "my-task_1.a", "handle_id": "my-task_1.a", "status": "accepted"}
    assert tasks.finished("my-task_1.a")["status"] == "success"


def test_an_id_is_made_up_when_there_is_none(tasks: TaskFace) -> None:
    first, second = tasks.submit("true"), tasks.submit("true")
    assert first != second
    assert tasks.finished(first)["handle_id"] == first


def test_what_is_left_out_has_the_contracts_defaults(tasks: TaskFace) -> None:
    request = kept_request(tasks.status(tasks.submit("true")))
    assert request["limits"] == {
        "wall_time_ms": 300_000,
        "cpu_time_sec": None,
        "memory_bytes": None,
        "pids_max": None,
        "stdout_max_bytes": 4_194_304,
        "stderr_max_bytes": 4_194_304,
        "file_size_bytes": None,
    }
    assert request["execution"]["interpreter"] == ["/bin/sh"]
    assert request["sandbox"]["profile"] == "process"
    assert request["control_context"]["requires_strict_sandbox"] is False


def test_null_counts_as_left_out(tasks: TaskFace) -> None:
    task_id = tasks.submit_request(
        {
            "task_id": None,
            "execution": {
                "kind": "command",
                "program": "true",
                "script": None,
                "interpreter": None,
                "args": None,
            },
            "limits": None,
            "sandbox": {"profile": None, "namespaces": {"net": None}},
            "policy": None,
            "control_context": {"owner": None, "labels": None},
            "metadata": None,
        }
    )
    said = tasks.finished(task_id)
    assert said["status"] == "success"
    assert kept_request(said)["limits"]["wall_time_ms"] == 300_000


def test_unknown_fields_are_ignored(tasks: TaskFace) -> None:
    task_id = tasks.submit_request({"execution": {"program": "true", "new": 1}, "later": {"a": 1}})
    assert tasks.finished(task_id)["status"] == "success"


def test_metadata_comes_back_in_the_order_of_its_keys(tasks: TaskFace) -> None:
    said = tasks.finished(tasks.submit("true", metadata={"b": "2", "c": "3", "a": "1"}))
    assert list(said["metadata"].items()) == [("a", "1"), ("b", "2"), ("c", "3")]


def test_a_script_is_run_by_its_interpreter_with_its_arguments(tasks: TaskFace) -> None:
    script = {"kind": "script", "script": 'echo "$1 from $0"; exit 4', "args": ["hello"]}
    said = tasks.finished(tasks.submit_request({"execution": script}))
    assert said["stdout"] == f"hello from {said['artifacts']['script_path']}\n"
    assert said["exit_code"] == 4
    python = {"kind": "script", "script": "print(6 * 7)", "interpreter": ["/usr/bin/env", "python3"]}
    assert tasks.finished(tasks.submit_request({"execution": python}))["stdout"] == "42\n"


def test_a_script_that_is_kept_to_its_workspace_can_still_be_read(tasks: TaskFace) -> None:
    """Also where Landlock is missing, and `adaptive` runs it without."""
    execution = {"kind": "script", "script": "echo $1 > out; cat out", "args": ["word"]}
    said = tasks.finished(
        tasks.submit_request({"execution": execution, "sandbox": {"filesystem": "restricted"}})
    )
    assert (said["status"], said["stdout"], said["stderr"]) == ("success", "word\n", "")


def test_a_task_gets_its_environment_its_workspace_and_no_input(tasks: TaskFace) -> None:
    said = tasks.ran('echo "$COLOUR"; pwd; cat; echo over', execution={"env": {"COLOUR": "blue"}})
    workspace = f"{said['artifacts']['task_dir']}/workspace"
    assert said["stdout"].splitlines() == ["blue", workspace, "over"]


def test_a_subfolder_of_the_workspace_can_be_asked_for(tasks: TaskFace) -> None:
    said = tasks.ran("pwd", sandbox={"workspace_subdir": "a/b"})
    assert said["stdout"] == f"{said['artifacts']['task_dir']}/workspace/a/b\n"


def test_no_value_of_the_environment_is_shown_or_left(tasks: TaskFace) -> None:
    said = tasks.ran("true", execution={"env": {"KEY": "geheim-789"}})
    folder = Path(said["artifacts"]["task_dir"])
    assert "geheim-789" not in json.dumps(said)
    for name in ("request.json", "result.json", "worker.json"):
        path = folder / name
        assert not path.exists() or "geheim-789" not in path.read_text()


def test_a_task_is_a_worker_that_takes_no_input(api: Api, tasks: TaskFace) -> None:
    task_id = tasks.sh("echo up; sleep 60", task_id="also-a-worker")
    tasks.wait_running(task_id)
    worker = api.worker(task_id)
    assert (worker["face"], worker["phase"]) == ("task", "running")
    assert task_id in [each["worker_id"] for each in api.get("/v1/workers")["workers"]]
    refused = api.request("POST", f"/v1/workers/{task_id}/input", {"content": "hello"})
    assert refused.code == "invalid_request"
    api.act(task_id, "cancel")
    assert tasks.finished(task_id)["status"] == "cancelled"


def test_a_worker_that_is_no_task_is_not_found_here(api: Api, tasks: TaskFace) -> None:
    worker = api.create("true")
    assert worker["face"] == "worker"
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/kill")):
        answer = api.request(method, f"/api/v1/tasks/{worker['worker_id']}{path}")
        assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")
    listed = api.get("/api/v1/tasks")["tasks"]
    assert worker["worker_id"] not in [task["task_id"] for task in listed]


def test_tasks_are_listed_in_order_page_by_page_and_by_status(api: Api, tasks: TaskFace) -> None:
    good, bad, last = (tasks.submit(program) for program in ("true", "false", "true"))
    for task_id in (good, bad, last):
        tasks.finished(task_id)
    listed = [task["task_id"] for task in api.get("/api/v1/tasks")["tasks"]]
    assert listed[-3:] == [good, bad, last]
    page = api.get(f"/api/v1/tasks?after={good}&limit=1")
    assert ([task["task_id"] for task in page["tasks"]], page["next_after"]) == ([bad], bad)
    assert api.get(f"/api/v1/tasks?after={bad}&limit=1")["next_after"] is None
    failed = api.get("/api/v1/tasks?status=failed")["tasks"]
    assert {task["status"] for task in failed} == {"failed"}
    assert bad in [task["task_id"] for task in failed]
