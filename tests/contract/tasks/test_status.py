"""What a status answer tells (task contract, "TaskStatusResponse")."""

from __future__ import annotations

import json
import os
import stat
from datetime import datetime
from pathlib import Path

from support.api import Api
from support.processes import pids
from support.task_face import TaskFace

FLAGS = ["--grace-ms=300"]

FIELDS = {
    "task_id", "handle_id", "status", "created_at", "updated_at", "started_at", "finished_at", "duration_ms",
    "shim_pid", "pid", "pgid", "exit_code", "exit_signal", "stdout", "stderr", "stdout_truncated",
    "stderr_truncated", "error", "usage", "execution_plan", "reservation", "artifacts", "metadata",
}  # fmt: skip


def test_a_success_has_every_field_and_no_error(tasks: TaskFace) -> None:
    said = tasks.ran("echo out; echo err >&2")
    assert set(said) == FIELDS
    assert (said["status"], said["exit_code"], said["exit_signal"]) == ("success", 0, None)
    assert (said["stdout"], said["stderr"], said["error"]) == ("out\n", "err\n", None)
    assert (said["stdout_truncated"], said["stderr_truncated"]) == (False, False)
    times = [said[name] for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert all(time.endswith("Z") and datetime.fromisoformat(time) for time in times)
    assert said["updated_at"] == said["finished_at"]
    assert said["usage"]["duration_ms"] == said["duration_ms"] >= 0
    assert said["usage"]["max_rss_bytes"] > 0
    assert said["reservation"]["task_slots"] == 1
    plan = said["execution_plan"]
    assert (plan["capability_mode"], plan["degraded"], plan["fallback_reasons"]) == ("adaptive", False, [])
    assert plan["resource_enforcement"]["wall_time_ms"] == 300_000


def test_a_running_task_shows_its_processes_and_its_output_so_far(tasks: TaskFace) -> None:
    task_id = tasks.sh("echo up; exec sleep 60")
    said = tasks.wait_running(task_id)
    assert (said["status"], said["stdout"]) == ("running", "up\n")
    assert {said["pid"], said["shim_pid"]} <= set(pids())
    assert said["pgid"] == os.getpgid(said["pid"])
    unfinished = ("finished_at", "duration_ms", "exit_code", "exit_signal", "error", "usage")
    assert [said[name] for name in unfinished] == [None] * len(unfinished)
    assert not Path(said["artifacts"]["result_path"]).exists()
    tasks.kill(task_id)


def test_another_exit_code_is_exit_non_zero(tasks: TaskFace) -> None:
    said = tasks.ran("exit 3")
    assert (said["status"], said["exit_code"], said["exit_signal"]) == ("failed", 3, None)
    assert said["error"]["code"] == "exit_non_zero"
    assert "exit code 3" in said["error"]["message"]
    assert said["error"]["details"]["exit_code"] == 3


def test_a_signal_is_told_by_its_number(tasks: TaskFace) -> None:
    said = tasks.ran("kill -KILL $$")
    assert (said["status"], said["exit_code"], said["exit_signal"]) == ("failed", None, 9)
    assert said["error"]["code"] == "exit_non_zero"
    assert said["error"]["details"]["exit_signal"] == 9


def test_a_task_over_its_wall_time_fails_with_timeout(tasks: TaskFace) -> None:
    said = tasks.ran("echo begun; sleep 60", limits={"wall_time_ms": 300})
    assert (said["status"], said["error"]["code"]) == ("failed", "timeout")
    assert said["stdout"] == Path(said["artifacts"]["stdout_path"]).read_text()  # If it came to say it.
    assert "300 ms" in said["error"]["message"]
    assert said["duration_ms"] >= 300


def test_a_program_that_cannot_be_started_fails_with_launch_failed(tasks: TaskFace) -> None:
    said = tasks.finished(tasks.submit("/no/such/program"))
    assert (said["status"], said["error"]["code"]) == ("failed", "launch_failed")
    assert "/no/such/program" in said["error"]["message"]
    assert "No such file or directory" in said["error"]["message"]
    assert (said["started_at"], said["duration_ms"], said["stdout"]) == (None, None, "")


def test_an_answer_inlines_so_much_and_the_file_has_all(tasks: TaskFace) -> None:
    bounds = {"stdout_max_bytes": 5, "stderr_max_bytes": 4}
    said = tasks.ran("printf 0123456789; printf abcd >&2", limits=bounds)
    assert (said["stdout"], said["stdout_truncated"]) == ("01234", True)
    assert (said["stderr"], said["stderr_truncated"]) == ("abcd", False)
    assert Path(said["artifacts"]["stdout_path"]).read_bytes() == b"0123456789"


def test_a_character_is_not_cut_in_two(tasks: TaskFace) -> None:
    said = tasks.ran("printf 'aä€'", limits={"stdout_max_bytes": 5})
    assert (said["stdout"], said["stdout_truncated"]) == ("aä", True)


def test_bytes_that_are_no_text_are_marked(tasks: TaskFace) -> None:
    said = tasks.ran(r"printf 'a\377b\0c'")
    assert (said["stdout"], said["stdout_truncated"]) == ("a\ufffdb\0c", False)
    assert Path(said["artifacts"]["stdout_path"]).read_bytes() == b"a\xffb\0c"


def test_more_than_four_mebibytes_are_cut_unless_another_bound_is_asked_for(tasks: TaskFace) -> None:
    said = tasks.ran("head -c 4194305 /dev/zero | tr '\\0' x")
    assert (len(said["stdout"]), said["stdout_truncated"]) == (4_194_304, True)
    said = tasks.ran("head -c 4194305 /dev/zero | tr '\\0' x", limits={"stdout_max_bytes": 1 << 50})
    assert (len(said["stdout"]), said["stdout_truncated"]) == (4_194_305, False)


def test_the_files_of_a_task_are_where_the_answer_says(tasks: TaskFace) -> None:
    said = tasks.ran("echo out; echo kept > file")
    files = said["artifacts"]
    folder = Path(files["task_dir"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Path(files["request_path"]) == folder / "request.json"
    assert Path(files["stdout_path"]).read_text() == "out\n"
    assert Path(files["stderr_path"]).read_text() == ""
    assert (folder / "workspace" / "file").read_text() == "kept\n"
    assert files["script_path"] is None
    assert json.loads(Path(files["result_path"]).read_text()) == said


def test_an_answer_can_wait_for_the_end_and_tells_when_it_is_not_there(api: Api, tasks: TaskFace) -> None:
    task_id = tasks.sh("sleep 60")
    assert api.get(f"/api/v1/tasks/{task_id}?wait_ms=1")["status"] in {"accepted", "running"}
    tasks.kill(task_id)
    assert api.get(f"/api/v1/tasks/{task_id}?wait_ms=60000")["status"] == "cancelled"


def test_what_the_host_cannot_give_is_told_one_by_one(tasks: TaskFace) -> None:
    asked = {"profile": "linux_sandbox", "rootfs": "/no/such/root", "chroot": True}
    said = tasks.finished(tasks.submit("true", sandbox=asked, policy={"capability_mode": "adaptive"}))
    plan = said["execution_plan"]
    assert plan["requested_sandbox"]["profile"] == "linux_sandbox"
    if plan["degraded"]:  # Where there is no sandbox; elsewhere the task cannot be started there.
        assert plan["fallback_reasons"]
        assert "degraded" in tasks.types(said["task_id"])
    else:
        assert said["error"]["code"] == "sandbox_setup_failed"
        assert "rootfs: /no/such/root; No such file or directory" in said["error"]["message"]
