"""Tasks on the command line: `submit`, `status`, `wait`, `kill`, `run --task`."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from support.api import Api
from support.processes import wait_true
from support.serving import Served
from support.shell import Shell, ended, started
from support.task_face import TaskFace

FLAGS = ["--grace-ms=300"]


@pytest.fixture
def shell(served: Served) -> Shell:
    return Shell(served)


def test_submit_prints_the_id_and_wait_the_final_status(shell: Shell, tasks: TaskFace) -> None:
    task_id = shell.text("submit", "--metadata", "a=b", "--", "sh", "-c", "echo out; pwd").strip()
    final = json.loads(shell.text("wait", task_id))
    assert final == tasks.status(task_id)
    assert (final["status"], final["metadata"]) == ("success", {"a": "b"})
    assert final["stdout"].splitlines() == ["out", str(Path.cwd())]


def test_the_exit_code_of_wait_tells_success(shell: Shell) -> None:
    task_id = shell.text("submit", "--", "sh", "-c", "exit 7").strip()
    done = shell("wait", task_id)
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (1, 7)


def test_wait_leaves_when_its_time_is_over(shell: Shell, tasks: TaskFace) -> None:
    task_id = shell.json("submit", "--", "sleep", "60")["task_id"]
    done = shell("wait", "--timeout-ms", "50", task_id)
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"after 50 ms" in done.stderr
    tasks.kill(task_id)


def test_a_request_can_come_whole(shell: Shell, tmp_path: Path) -> None:
    request = {"task_id": "from-a-file", "execution": {"kind": "script", "script": "echo $0 >&2"}}
    file = tmp_path / "task.json"
    file.write_text(json.dumps(request))
    assert shell.text("submit", "--request", str(file)) == "from-a-file\n"
    assert "script" in json.loads(shell.text("wait", "from-a-file"))["stderr"]
    again = shell("submit", "--request", "-", stdin=json.dumps(request).encode())
    assert (again.returncode, b"exists already" in again.stderr) == (1, True)
    assert shell("submit", "--request", "-", stdin=b"[]").returncode == 1


def test_only_the_owner_kills(shell: Shell, tasks: TaskFace) -> None:
    task_id = shell.text("submit", "--owner", "anna", "--", "sh", "-c", "echo up; sleep 60").strip()
    tasks.wait_running(task_id)
    refused = shell("kill", task_id)
    assert (refused.returncode, b"kill requires owner 'anna'" in refused.stderr) == (4, True)
    final = json.loads(shell.text("kill", "--owner", "anna", "--reason", "enough", task_id))
    assert final["status"] == "cancelled"


def test_a_whole_request_stands_alone(shell: Shell) -> None:
    for more in (["--", "true"], ["--memory", "64M"], ["--owner", "anna"]):
        done = shell("submit", "--request", "-", *more, stdin=b"{}")
        assert (done.returncode, b"--request: it says everything" in done.stderr) == (2, True)


def test_run_task_has_an_owner_and_a_tenant_and_its_interrupt_is_the_owners(
    shell: Shell, api: Api, tasks: TaskFace
) -> None:
    words = ("run", "--task", "--id", "annas", "--owner", "anna", "--tenant", "acme", "--", "sleep", "60")
    with started(shell.state_dir, *words) as process:
        wait_true(lambda: api.request("GET", "/api/v1/tasks/annas").status == 200, "nothing was submitted")
        assert tasks.kill("annas").status == 403
        code, out, _ = ended(process, signal.SIGINT)
    final = json.loads(out)
    assert (code, final["status"]) == (130, "cancelled")
    whose = json.loads(Path(final["artifacts"]["request_path"]).read_text())["control_context"]
    assert (whose["owner"], whose["tenant"]) == ("anna", "acme")
    without_task = shell("run", "--owner", "anna", "--", "true")
    assert (without_task.returncode, b"--owner: a task has one" in without_task.stderr) == (2, True)


def test_status_shows_a_task_in_its_own_words(shell: Shell, tasks: TaskFace) -> None:
    task_id = shell.text("submit", "--", "false").strip()
    final = tasks.finished(task_id)
    assert shell.json("status", task_id) == final
    facts = shell.text("status", task_id)
    assert "failed" in facts
    assert "exit_non_zero" in facts
    assert final["artifacts"]["task_dir"] in facts


def test_ps_lists_tasks_among_the_workers(shell: Shell) -> None:
    task_id = shell.text("submit", "--", "true").strip()
    assert task_id in shell.text("ps", "-q").split()


@pytest.mark.parametrize(("program", "code"), [("true", 0), ("false", 1)])
def test_run_task_submits_waits_and_tells_success(shell: Shell, program: str, code: int) -> None:
    done = shell("run", "--task", "--", program)
    assert done.returncode == code
    assert json.loads(done.stdout)["status"] == ("success" if code == 0 else "failed")


def test_run_task_can_forget_it_afterwards(shell: Shell, api: Api) -> None:
    done = shell("run", "--task", "--rm", "--", "echo", "gone")
    task_id = json.loads(done.stdout)["task_id"]
    assert api.request("GET", f"/api/v1/tasks/{task_id}").status == 404


def test_an_interrupt_of_run_task_kills_the_task(shell: Shell, api: Api, tasks: TaskFace) -> None:
    with started(shell.state_dir, "run", "--task", "--id", "interrupted", "--", "sleep", "60") as process:
        wait_true(
            lambda: api.request("GET", "/api/v1/tasks/interrupted").status == 200, "nothing was submitted"
        )
        code, out, _ = ended(process, signal.SIGINT)
    assert code == 130
    assert json.loads(out)["status"] == "cancelled"
    assert "kill_requested" in tasks.types("interrupted")


@pytest.mark.parametrize("flags", [["--detach"], ["-i"], ["--input", "x"], ["--speech", "jsonl"]])
def test_run_task_takes_no_input(shell: Shell, flags: list[str]) -> None:
    done = shell("run", "--task", *flags, "--", "true")
    assert (done.returncode, b"not with --task" in done.stderr) == (2, True)


def test_an_unknown_task_is_told(shell: Shell) -> None:
    for words in (("wait", "nobody"), ("kill", "nobody")):
        assert shell(*words).returncode == 3
    assert shell("wait", " ").returncode == 2
