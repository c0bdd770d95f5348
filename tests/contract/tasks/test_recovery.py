"""Tasks over restarts of the server, and what becomes of old ones (task contract, "Semantics")."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.processes import wait_true
from support.serving import Place, durable_server
from support.task_face import TaskFace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path, "--grace-ms=300", runtime_id="rt-task-recovery") as place:
        yield place


def test_a_task_goes_on_over_a_kill_of_the_server_and_says_so_once_for_each(place: Place) -> None:
    with place.serving() as served:
        tasks = TaskFace(Api(served))
        task_id = tasks.sh("echo up; while ! test -e go; do sleep 0.05; done; echo over; exit 3")
        pid = tasks.wait_running(task_id)["pid"]
        workspace = Path(tasks.status(task_id)["artifacts"]["task_dir"], "workspace")
        place.kill()
    for restarts in (1, 2):
        with place.serving() as served:
            tasks = TaskFace(Api(served))
            said = tasks.status(task_id)
            assert (said["status"], said["pid"], said["stdout"]) == ("running", pid, "up\n")
            assert tasks.types(task_id).count("recovered") == restarts
            assert tasks.types(task_id).count("started") == 1
            if restarts == 1:
                place.kill()
                continue
            (workspace / "go").touch()
            final = tasks.finished(task_id)
            assert (final["status"], final["exit_code"], final["stdout"]) == ("failed", 3, "up\nover\n")
            assert tasks.types(task_id)[-2:] == ["resource_released", "failed"]


def test_a_task_that_ended_while_no_server_was_there_is_finished_by_the_next(place: Place) -> None:
    with place.serving() as served:
        tasks = TaskFace(Api(served))
        task_id = tasks.sh("echo up; while ! test -e go; do sleep 0.05; done; exit 5")
        folder = Path(tasks.wait_running(task_id)["artifacts"]["task_dir"])
        place.kill()
    (folder / "workspace" / "go").touch()
    wait_true(lambda: (folder / "exit.json").exists(), "the task does not end")
    assert not (folder / "result.json").exists()
    with place.serving() as served:
        tasks = TaskFace(Api(served))
        final = tasks.finished(task_id)
        assert (final["status"], final["exit_code"]) == ("failed", 5)
        assert json.loads((folder / "result.json").read_text()) == final


def test_a_task_that_waits_starts_after_a_restart(place: Place) -> None:
    with place.serving("--max-running-tasks=1") as served:
        tasks = TaskFace(Api(served))
        first = tasks.sh("echo up; sleep 60")
        tasks.wait_running(first)
        second = tasks.sh("echo second")
        place.kill()
    with place.serving("--max-running-tasks=1") as served:
        tasks = TaskFace(Api(served))
        assert tasks.status(second)["status"] == "accepted"
        tasks.kill(first)
        assert tasks.finished(second)["stdout"] == "second\n"
        assert tasks.types(second) == [
            "submitted",
            "accepted",
            "planned",
            "recovered",
            "resource_reserved",
            "started",
            "resource_released",
            "finished",
        ]


def test_finished_tasks_and_plain_workers_are_after_a_restart_what_they_were(place: Place) -> None:
    with place.serving() as served:
        api, tasks = Api(served), TaskFace(Api(served))
        task_id = tasks.ran("echo out", metadata={"a": "b"}, limits={"stdout_max_bytes": 2})["task_id"]
        worker_id = api.create("true")["worker_id"]
        before, events = tasks.status(task_id), tasks.events(task_id)
        assert (before["stdout"], before["stdout_truncated"]) == ("ou", True)
        place.kill()
    folder = place.worker_dir(task_id)
    (folder / "result.json").unlink()
    (folder / "request.json").write_bytes(b"")  # As a loss of power may leave it.
    with place.serving() as served:
        api, tasks = Api(served), TaskFace(Api(served))
        assert (tasks.status(task_id), tasks.events(task_id)) == (before, events)
        assert json.loads((folder / "result.json").read_text()) == before
        assert json.loads((folder / "request.json").read_text())["task_id"] == task_id
        assert api.worker(worker_id)["face"] == "worker"
        assert api.request("GET", f"/api/v1/tasks/{worker_id}").status == 404
        assert [task["task_id"] for task in api.get("/api/v1/tasks")["tasks"]] == [task_id]


def test_the_collector_takes_old_finished_tasks_and_nothing_else(place: Place) -> None:
    with place.serving("--result-retention-secs=0", "--gc-interval-ms=20") as served:
        api, tasks = Api(served), TaskFace(Api(served))
        worker_id = api.create("true")["worker_id"]
        running = tasks.sh("echo up; sleep 60")
        folder = Path(tasks.wait_running(running)["artifacts"]["task_dir"])
        old = tasks.submit("true")
        wait_true(lambda: api.request("GET", f"/api/v1/tasks/{old}").status == 404, "the finished task stays")
        assert not place.worker_dir(old).exists()
        assert tasks.status(running)["status"] == "running"
        assert api.worker(worker_id)["worker_id"] == worker_id
        tasks.kill(running)
        wait_true(lambda: not folder.exists(), "the killed task stays")
        assert tasks.submit("true", task_id=old) == old  # Its id is free again.


def test_a_task_of_an_earlier_server_is_collected_by_the_next(place: Place) -> None:
    with place.serving() as served:
        tasks = TaskFace(Api(served))
        task_id = tasks.ran("true")["task_id"]
    with place.serving("--result-retention-secs=0", "--gc-interval-ms=20"):
        wait_true(lambda: not place.worker_dir(task_id).exists(), "the old task stays")


def test_an_imported_task_is_a_worker_that_nobody_collects(place: Place) -> None:
    with place.serving() as served:
        api, tasks = Api(served), TaskFace(Api(served))
        task_id = tasks.ran("echo kept")["task_id"]
        archive = api.request("GET", f"/v1/workers/{task_id}/export").body
        assert api.request("DELETE", f"/v1/workers/{task_id}").status == 204
        assert api.request("POST", "/v1/workers/import", archive).status == 200
        assert (api.worker(task_id)["face"], api.log(task_id)) == ("worker", b"kept\n")
        assert api.request("GET", f"/api/v1/tasks/{task_id}").status == 404
