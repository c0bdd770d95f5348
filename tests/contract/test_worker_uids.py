"""A server that is root, and makes every worker a user of its own: what a plain process may then do."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from watchglass.runtime.uids import WORKER_UID_BASE, WORKER_UID_COUNT

from support.api import Api, Json
from support.passing import let_others_pass
from support.serving import durable_server, serving
from support.task_face import TaskFace, refusal

FLAGS = ["--worker-uids=all"]
STRICT = {"capability_mode": "strict"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def own_users(api: Api) -> TaskFace:
    """The face of a server that can make any worker a user of its own; or the test is skipped."""
    found = api.get("/v1/runtime/capabilities")["capabilities"]["sandbox"]["own_place"]
    if not found["available"]:
        pytest.skip(found["reason"])
    return TaskFace(api)


def behind(uid: int) -> int:
    """The user after this one, in the range of a server that was told none."""
    return WORKER_UID_BASE + (uid + 1 - WORKER_UID_BASE) % WORKER_UID_COUNT


@pytest.fixture
def tasks(api: Api) -> TaskFace:
    return own_users(api)


@contextmanager
def running(tasks: TaskFace) -> Iterator[Json]:
    """A plain worker that says who it is, and goes on."""
    task = tasks.sh("id -u; sleep 60", policy=STRICT)
    yield tasks.wait_running(task)
    tasks.kill(task)


def test_each_plain_worker_is_another_user_and_the_plan_says_so(tasks: TaskFace) -> None:
    with running(tasks) as one, running(tasks) as another:
        users = [int(said["stdout"]) for said in (one, another)]
        assert len(set(users)) == 2
        assert all(user >= WORKER_UID_BASE for user in users)
        plan = one["execution_plan"]
        row = plan["features"]["sandbox.own_uid"]
        assert (row["requested"], row["effective"], row["enforced"]) == (True, True, "hard")
        assert (plan["effective_sandbox"]["profile"], plan["degraded"]) == ("process", False)


def test_it_has_its_workspace_and_nothing_of_the_server(api: Api, tasks: TaskFace) -> None:
    theirs = (f"/proc/{api.served.process.pid}/environ", "/etc/shadow", str(api.served.state_dir / "token"))
    script = 'echo kept > file && cat file && echo temporary > /tmp/$$ && rm /tmp/$$; cat "$@"'
    said = tasks.finished(tasks.submit("/bin/sh", "-c", script, "sh", *theirs, policy=STRICT))
    assert (said["stdout"], said["status"]) == ("kept\n", "failed")
    refused = said["stderr"].count("ermission denied") + said["stderr"].count("No such file")
    assert refused == len(theirs) == said["stderr"].count("\n")


def test_a_script_of_its_own_is_read_by_its_user(tasks: TaskFace) -> None:
    execution = {"kind": "script", "script": "id -u; echo $1", "args": ["word"]}
    said = tasks.finished(tasks.submit_request({"execution": execution, "policy": STRICT}))
    user, word = said["stdout"].split()
    assert (int(user) >= WORKER_UID_BASE, word, said["status"]) == (True, "word", "success")


def test_a_folder_that_its_user_may_not_enter_is_refused_with_that_user(
    api: Api, tasks: TaskFace, tmp_path: Path
) -> None:
    let_others_pass(tmp_path)
    closed, opened = tmp_path / "closed", tmp_path / "open"
    closed.mkdir(mode=0o700)
    opened.mkdir()
    opened.chmod(0o755)
    said = tasks.ran("pwd; echo no > file", execution={"cwd": str(opened)})
    assert (said["stdout"], list(opened.iterdir())) == (f"{opened}\n", [])
    asked: Json = {"execution": {"program": "true", "cwd": str(closed)}}
    refused = api.request("POST", "/v1/workers", asked)
    assert (refused.status, refused.code) == (400, "launch_failed")
    assert "cannot start the worker: chdir '/" in refused.message
    said = re.search(r" as user (\d+): Permission denied \(EACCES\)", refused.message)
    assert said is not None
    assert int(said[1]) >= WORKER_UID_BASE


def test_what_one_leaves_in_tmp_is_not_the_next_ones(tasks: TaskFace) -> None:
    left = tasks.ran("umask 077; mktemp /tmp/left-XXXXXX")["stdout"].strip()
    try:
        said = tasks.ran(f"cat {left}; rm -f {left}")
        assert (said["stdout"], said["status"]) == ("", "failed")
        assert Path(left).is_file()
    finally:
        Path(left).unlink()


def test_a_killed_server_and_the_next_one_give_no_user_twice(tmp_path: Path) -> None:
    with durable_server(tmp_path, *FLAGS) as place:
        with place.serving() as served:
            before = own_users(Api(served))
            lives = before.wait_running(before.sh("id -u; sleep 60"))
            ended = before.ran("id -u")
            place.kill()
        with place.serving() as served:
            later = own_users(Api(served)).ran("id -u")
    first, second, third = (int(said["stdout"]) for said in (lives, ended, later))
    assert (second, third) == (behind(first), behind(second))


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="takes setpriv")
def test_where_it_may_not_mount_adaptive_runs_as_the_server_and_says_so_and_strict_refuses(
    tmp_path: Path,
) -> None:
    with serving(tmp_path / "state", *FLAGS, by=["setpriv", "--bounding-set=-sys_admin", "--"]) as served:
        tasks = TaskFace(Api(served))
        said = tasks.ran("id -u")
        plan = said["execution_plan"]
        assert (said["stdout"], plan["degraded"]) == ("0\n", True)
        (reason,) = plan["fallback_reasons"]
        assert reason == f"sandbox.own_uid: {plan['features']['sandbox.own_uid']['reason']}"
        assert "Operation not permitted" in reason
        asked: Json = {"execution": {"kind": "command", "program": "true"}, "policy": STRICT}
        status, code, details = refusal(tasks.api.request("POST", "/api/v1/tasks", asked))
        assert (status, code, details["feature"]) == (400, "unsupported_capability", "sandbox.own_uid")
