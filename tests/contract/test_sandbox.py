"""A worker below bubblewrap over HTTP: why it could not be made, and that nothing leads out of it.

As the user who runs the tests and, when that is root, as a plain user too.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.plain_user import lacking, plain_user
from support.programs import WORKERS
from support.serving import Served, serving
from support.task_face import TaskFace, refusal

SANDBOX = {"profile": "linux_sandbox"}
STRICT = {"capability_mode": "strict"}
PYTHON = "/usr/bin/python3"
SECRET = "hunter2-on-no-command-line"
MIB = 1 << 20

needs_python = pytest.mark.skipif(
    not Path(PYTHON).exists(), reason="the system has no Python of its own to show inside"
)
plain = pytest.param("plain", marks=pytest.mark.skipif(bool(lacking()), reason=lacking()))


@pytest.fixture(scope="module", params=["own", plain])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if request.param == "own":
        with serving(tmp_path_factory.mktemp("state")) as server:
            yield server
    else:
        with plain_user() as user, user.serving() as server:
            yield server


@pytest.fixture
def tasks(api: Api) -> TaskFace:
    found = api.get("/v1/runtime/capabilities")["capabilities"]["sandbox"]["linux_sandbox"]
    if not found["available"]:
        pytest.skip(found["reason"])
    return TaskFace(api)


@pytest.fixture
def bare_root() -> Iterator[str]:
    """A root without the folders that a sandbox needs, into which anybody may look."""
    with tempfile.TemporaryDirectory(prefix="watchglass-bare-") as root:
        Path(root).chmod(0o755)
        yield root


def test_a_sandbox_that_fails_is_told_in_bubblewraps_words(api: Api, tasks: TaskFace, bare_root: str) -> None:
    asked = {"execution": {"program": "/bin/true"}, "sandbox": {**SANDBOX, "rootfs": bare_root}}
    refused = api.request("POST", "/v1/workers", {"worker_id": "never", **asked})
    assert (refused.status, refused.code) == (400, "sandbox_setup_failed")
    assert "bwrap: Can't mkdir" in refused.message
    assert api.request("GET", "/v1/workers/never").code == "worker_not_found"
    said = tasks.finished(tasks.submit_request({**asked, "policy": STRICT}))
    assert (said["status"], said["error"]["code"]) == ("failed", "sandbox_setup_failed")
    assert "bwrap: Can't mkdir" in said["error"]["message"]
    assert said["error"]["details"] == {"reason": "sandbox_setup_failed"}
    assert tasks.types(said["task_id"])[-2:] == ["resource_released", "failed"]
    explanation = api.get(f"/v1/workers/{said['task_id']}/explain")["explanation"]
    assert "its sandbox could not be made" in explanation["summary"]


def test_it_starts_in_the_folder_inside_that_was_asked_for(api: Api, tasks: TaskFace) -> None:
    for folder in ("/usr/bin", "/workspace", "/tmp"):
        said = tasks.ran("pwd", execution={"cwd": folder}, sandbox=SANDBOX)
        assert (said["stdout"], said["execution_plan"]["degraded"]) == (f"{folder}\n", False)
    asked = {"execution": {"program": "pwd", "cwd": "/home/nobody/here"}, "sandbox": SANDBOX}
    refused = api.request("POST", "/v1/workers", asked)
    assert (refused.status, refused.code) == (400, "launch_failed")
    assert "chdir '/home/nobody/here': No such file or directory" in refused.message


FORBIDDEN = (
    "remount", "mount", "unmount", "chroot", "ptrace", "user namespace",
    "user namespace of a child", "device node", "keyring", "tiocsti",
)  # fmt: skip


@needs_python
def test_nothing_leads_out_of_it(api: Api, tasks: TaskFace, tmp_path: Path) -> None:
    """One worker tries everything, and says how each attempt was refused."""
    outside = tmp_path / "outside"
    with socket.socket(socket.AF_UNIX) as host:
        name = f"watchglass-test-{os.getpid()}"
        host.bind("\0" + name)
        host.listen()
        facts = {
            "server_pid": api.served.process.pid,
            "port": api.served.port,
            "abstract": name,
            "outside": str(outside),
        }
        said = tasks.finished(
            tasks.submit_request(
                {
                    "execution": {
                        "kind": "script",
                        "script": (WORKERS / "escapes.py").read_text(),
                        "interpreter": [PYTHON, "-I", "-S"],
                        "args": [json.dumps(facts)],
                        "env": {"KEY": SECRET},
                    },
                    "sandbox": SANDBOX,
                    "policy": STRICT,
                }
            )
        )
    assert (said["status"], said["stderr"]) == ("success", "")
    told: dict[str, Any] = json.loads(said["stdout"])
    assert told == {
        **dict.fromkeys(FORBIDDEN, "EPERM"),
        "write to the system": "EROFS",
        "write to the root": "EROFS",
        "write where the host may": "ENOENT",
        "write through a link": "EROFS",
        "environment of the server": "ENOENT",
        "memory of the server": "ENOENT",
        "signal to the server": "ESRCH",
        "packets of the network": "EAFNOSUPPORT",
        "processes": [1, 2],
        "descriptors": [0, 1, 2],
        "abstract socket": "ECONNREFUSED",
        "port of the runtime": "ECONNREFUSED",
        "capabilities": "0000000000000000",
        "new privileges": "1",
    }
    assert not outside.exists()


def test_one_that_is_kept_to_its_workspace_gets_nothing_of_the_server(api: Api, tasks: TaskFace) -> None:
    found = api.get("/v1/runtime/capabilities")["capabilities"]["sandbox"]
    if not found["restricted_filesystem"]["available"]:
        pytest.skip(found["restricted_filesystem"]["reason"])
    server = api.served.process.pid
    theirs = (f"/proc/{server}/environ", "/etc/shadow", f"/proc/{server}/root", str(api.served.state_dir))
    script = "echo kept > file && cat file; cat $1 $2; ls $3 $4"
    execution = {"kind": "script", "script": script, "args": theirs}
    asked = {"execution": execution, "sandbox": {"filesystem": "restricted"}, "policy": STRICT}
    said = tasks.finished(tasks.submit_request(asked))
    assert (said["stdout"], said["status"]) == ("kept\n", "failed")
    refused = said["stderr"].count("ermission denied") + said["stderr"].count("No such file")
    assert refused == len(theirs)
    features, warnings = said["execution_plan"]["features"], said["execution_plan"]["capability_warnings"]
    assert features["sandbox.own_uid"]["effective"] == found["own_place"]["available"]
    assert bool(warnings) == (not found["own_place"]["available"])  # Then modes of others can be changed.


def test_no_secret_is_on_any_command_line_while_it_runs(tasks: TaskFace) -> None:
    task = tasks.sh(
        'test -n "$KEY" && echo up; sleep 60', execution={"env": {"KEY": SECRET}}, sandbox=SANDBOX
    )
    assert tasks.wait_running(task)["stdout"] == "up\n"
    lines = [line for line in map(_command_line, Path("/proc").glob("[0-9]*/cmdline")) if line]
    assert any(b"watchglass-sandbox" in line for line in lines)
    assert not [line for line in lines if SECRET.encode() in line]
    tasks.kill(task)


def _command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_files_in_memory_are_full_before_the_memory_is(tasks: TaskFace) -> None:
    """Also where no control group would count them."""
    fill = "cd $1 && head -c 100000000 /dev/zero > file || wc -c < file; rm file"
    fill = f"for place in /tmp /run; do sh -c '{fill}' - $place; done"
    said = tasks.ran(fill, limits={"memory_bytes": 96 * MIB}, sandbox=SANDBOX)
    assert said["stderr"].count("No space left on device") == 2
    assert (said["stdout"], said["status"]) == (f"{48 * MIB}\n" * 2, "success")


def test_a_fork_bomb_is_held_and_a_bomb_of_memory_in_a_grandchild_is_told(api: Api, tasks: TaskFace) -> None:
    found = api.get("/v1/runtime/capabilities")["capabilities"]["limits"]
    if not (found["memory"]["available"] and found["pids"]["available"]):
        for limit in ({"pids_max": 24}, {"memory_bytes": 64 * MIB}):  # What cannot be held is not promised.
            refused = api.request(
                "POST",
                "/api/v1/tasks",
                {
                    "execution": {"kind": "command", "program": "true"},
                    "limits": limit,
                    "sandbox": SANDBOX,
                    "policy": STRICT,
                },
            )
            assert refusal(refused)[:2] == (400, "unsupported_capability")
        return
    bomb = "bomb() { bomb | bomb & bomb; }; bomb"
    said = tasks.ran(bomb, limits={"pids_max": 24, "wall_time_ms": 20_000}, sandbox=SANDBOX, policy=STRICT)
    assert said["status"] == "failed"
    assert said["usage"]["forks_refused"] > 0
    for code in (0, 3):
        hungry = f"sh -c 'head -c 200000000 /dev/zero | tail' ; exit {code}"
        said = tasks.ran(hungry, limits={"memory_bytes": 64 * MIB}, sandbox=SANDBOX, policy=STRICT)
        assert (said["status"], said["error"]["code"]) == ("failed", "memory_limit_exceeded")
        assert said["usage"]["oom_kills"] > 0
