"""On a host without user namespaces and with control groups that nobody may write, as in a container.

It still works, it says what it lost, and strict refuses.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import bare_host
from support.api import Api
from support.serving import Served, serving, watchglass
from support.task_face import TaskFace, refusal

BARE = [sys.executable, "-I", "-S", str(bare_host.__file__)]
TRUE = {"kind": "command", "program": "true"}
MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    subprocess.run([*BARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no user namespace can be made here to take user namespaces away",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("state"), by=BARE) as server:
        yield server


@pytest.fixture
def tasks(api: Api) -> TaskFace:
    return TaskFace(api)


LOST: list[tuple[str, dict[str, Any]]] = [
    ("sandbox.profile", {"sandbox": {"profile": "linux_sandbox"}}),
    ("limits.memory_bytes", {"limits": {"memory_bytes": 256 * MIB}}),
    ("limits.pids_max", {"limits": {"pids_max": 64}}),
]


@pytest.mark.parametrize(("feature", "asked"), LOST)
def test_strict_refuses_and_names_the_feature_with_the_hosts_own_words(
    api: Api, feature: str, asked: dict[str, Any]
) -> None:
    body = {"execution": TRUE, "policy": {"capability_mode": "strict"}, **asked}
    status, code, details = refusal(api.request("POST", "/api/v1/tasks", body))
    assert (status, code, details["feature"]) == (400, "unsupported_capability", feature)
    answer = api.request("POST", "/v1/workers", body)
    assert (answer.status, answer.code) == (400, "unsupported_capability")
    expected = "bwrap: " if feature.startswith("sandbox") else "Read-only file system"
    assert expected in answer.message


def test_adaptive_runs_it_and_says_what_it_lost(tasks: TaskFace) -> None:
    asked = {name: part for _, each in LOST for name, part in each.items() if name == "sandbox"}
    limits = {"memory_bytes": 256 * MIB, "pids_max": 64}
    said = tasks.ran("echo done", limits=limits, **asked)
    assert (said["status"], said["stdout"]) == ("success", "done\n")
    plan = said["execution_plan"]
    assert plan["degraded"] is True
    told = {reason.partition(":")[0] for reason in plan["fallback_reasons"]}
    assert told >= {feature for feature, _ in LOST}
    assert plan["effective_sandbox"]["profile"] == "process"
    assert plan["resource_enforcement"]["cgroup_enforced"] is False
    assert "degraded" in tasks.types(said["task_id"])


def test_a_script_whose_sandbox_was_lost_is_still_run(tasks: TaskFace) -> None:
    execution = {"kind": "script", "script": "echo $1 > file && cat file", "args": ["word"]}
    asked = {"execution": execution, "sandbox": {"profile": "linux_sandbox"}}
    said = tasks.finished(tasks.submit_request(asked))
    assert (said["stdout"], said["stderr"], said["status"]) == ("word\n", "", "success")
    assert said["execution_plan"]["degraded"] is True


def test_what_it_still_has_is_given_without_a_loss(tasks: TaskFace, api: Api) -> None:
    told = api.get("/v1/runtime/capabilities")["capabilities"]["sandbox"]
    asked = {"filesystem": "restricted", "network": "none"}
    if not (told["restricted_filesystem"]["available"] and told["seccomp"]["available"]):
        pytest.skip("this kernel has no Landlock or no seccomp")
    said = tasks.ran("echo in > file && cat file; ls /root /home", sandbox=asked)
    assert said["stdout"] == "in\n"
    assert said["stderr"].count("Permission denied") == 2
    assert said["execution_plan"]["degraded"] is False


def test_the_capabilities_say_it_before(api: Api) -> None:
    said = api.get("/api/v1/runtime/capabilities")
    assert said["degraded"] is True
    assert (said["sandbox"]["linux_sandbox"], said["sandbox"]["process"]) == (False, True)
    for name in ("cgroup_writable", "memory_limit", "pids_limit"):
        assert said["resources"][name] is False
    assert any(line.startswith("linux_sandbox: bwrap: ") for line in said["warnings"])


def test_doctor_says_it_in_words(tmp_path: Path) -> None:
    done = subprocess.run(
        [*BARE, *watchglass("doctor")],
        env={"WATCHGLASS_STATE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "cannot  linux_sandbox" in done.stdout
    assert "cannot  memory" in done.stdout
    assert "user.max_user_namespaces" in done.stdout


@pytest.mark.parametrize(
    ("feature", "limits"),
    [("limits.memory_bytes", {"memory_bytes": MIB}), ("limits.pids_max", {"pids_max": 9})],
)
def test_without_control_groups_by_choice_strict_refuses_too(
    tmp_path: Path, feature: str, limits: dict[str, int]
) -> None:
    with serving(tmp_path, "--no-cgroups", "--capability-mode=strict") as server:
        answer = Api(server).request("POST", "/api/v1/tasks", {"execution": TRUE, "limits": limits})
        status, code, details = refusal(answer)
        assert (status, code, details["feature"]) == (400, "unsupported_capability", feature)
        assert "switched off" in answer.message
        config = Api(server).get("/api/v1/runtime/config")
        assert (config["cgroup_enabled"], config["cgroup_root"]) == (False, "/sys/fs/cgroup")
        assert Api(server).get("/api/v1/runtime/capabilities")["overrides"] == {"cgroup": "disabled"}
