"""From a plan to the process: what is given is asked of the executor, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from watchglass.protocol.errors import LaunchFailed, SandboxSetupFailed
from watchglass.protocol.execution import CapabilityMode
from watchglass.protocol.identity import WorkerRef
from watchglass.runtime import RuntimeOptions
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.executor import INSIDE_SCRIPT, INSIDE_WORKSPACE, LaunchPlan
from watchglass.runtime.launching import Launching, launch_plan
from watchglass.runtime.policy import resolve

from support.hosts import EVERYTHING, NOTHING
from support.workers import request_of

REF = WorkerRef(runtime_id="rt", worker_id="w")
CAT = {"program": "cat"}
SANDBOX = {"profile": "linux_sandbox"}
HERE = replace(EVERYTHING, sandbox=replace(EVERYTHING.sandbox, bwrap="/usr/bin/bwrap"))


def launched(directory: Path, host: HostCapabilities = HERE, **fields: Any) -> LaunchPlan:
    request = request_of(**{"execution": CAT, **fields})
    plan = resolve(request, CapabilityMode.ADAPTIVE, host)
    launching = Launching(ref=REF, request=request, plan=plan, directory=directory, uid=fields.get("uid"))
    return launch_plan(launching, host, RuntimeOptions())


def test_profile_process_asks_for_no_isolation(tmp_path: Path) -> None:
    plan = launched(tmp_path)
    assert plan.sandbox is None
    assert (plan.seccomp, plan.restricted_filesystem, plan.internet, plan.uid) == (False, False, True, None)
    assert plan.cwd == plan.env["HOME"] == str(tmp_path / "workspace")
    assert Path(plan.cwd).is_dir()


def test_a_sandbox_unshares_what_the_plan_gives_and_lives_in_its_workspace(tmp_path: Path) -> None:
    plan = launched(tmp_path, sandbox={**SANDBOX, "workspace_subdir": "a/b"})
    assert plan.sandbox is not None
    assert plan.sandbox.bwrap == "/usr/bin/bwrap"
    assert plan.sandbox.namespaces == {"mount", "pid", "uts", "ipc", "net"}
    assert (plan.seccomp, plan.restricted_filesystem, plan.internet) == (True, False, True)
    assert plan.env["HOME"] == INSIDE_WORKSPACE
    assert plan.workspace == "workspace/a/b"
    assert (tmp_path / plan.workspace).is_dir()


def test_a_sandbox_with_the_host_s_network_shares_it(tmp_path: Path) -> None:
    plan = launched(tmp_path, sandbox={**SANDBOX, "network": "host"})
    assert plan.sandbox is not None
    assert plan.sandbox.share_network


def test_a_script_is_read_where_the_worker_finds_it(tmp_path: Path) -> None:
    script = {"kind": "script", "script": "true\n"}
    plain, shut_in = (
        launched(tmp_path, execution=script),
        launched(tmp_path, execution=script, sandbox=SANDBOX),
    )
    assert plain.argv == ("/bin/sh", str(tmp_path / "script"))
    assert shut_in.argv == ("/bin/sh", INSIDE_SCRIPT)
    assert shut_in.sandbox is not None
    assert (tmp_path / str(shut_in.script)).read_text() == "true\n"


@pytest.mark.parametrize(
    ("memory_bytes", "tmp_bytes", "run_bytes"),
    [
        (None, 256 << 20, 80 << 20),
        (1 << 40, 256 << 20, 80 << 20),
        (64 << 20, 32 << 20, 32 << 20),
        (1, 2 << 20, 2 << 20),
    ],
)
def test_what_is_held_in_memory_is_full_before_the_memory_is(
    tmp_path: Path, memory_bytes: int | None, tmp_bytes: int, run_bytes: int
) -> None:
    shut_in = launched(tmp_path, sandbox=SANDBOX, limits={"memory_bytes": memory_bytes}).sandbox
    assert shut_in is not None
    assert (shut_in.tmp_bytes, shut_in.run_bytes) == (tmp_bytes, run_bytes)


def test_a_folder_is_one_inside_a_sandbox_and_one_of_the_host_without(tmp_path: Path) -> None:
    there = {**CAT, "cwd": "/usr/bin"}
    shut_in = launched(tmp_path, execution=there, sandbox=SANDBOX)
    assert shut_in.sandbox is not None
    assert shut_in.sandbox.cwd == "/usr/bin"
    assert launched(tmp_path, execution=there).cwd == "/usr/bin"


@pytest.mark.parametrize("inside", ["", "/a", "/a/b"])
def test_a_folder_of_the_workspace_is_found_where_the_sandbox_is_lost(tmp_path: Path, inside: str) -> None:
    there = {**CAT, "cwd": INSIDE_WORKSPACE + inside}
    assert (
        launched(tmp_path, NOTHING, execution=there, sandbox=SANDBOX).cwd == f"{tmp_path}/workspace{inside}"
    )
    assert launched(tmp_path, NOTHING, execution=there).cwd == INSIDE_WORKSPACE + inside


def test_what_is_left_without_a_sandbox_is_asked_for(tmp_path: Path) -> None:
    host = replace(
        NOTHING,
        sandbox=replace(
            NOTHING.sandbox,
            seccomp=EVERYTHING.sandbox.seccomp,
            restricted_filesystem=EVERYTHING.sandbox.restricted_filesystem,
        ),
    )
    plan = launched(tmp_path, host, sandbox=SANDBOX)
    assert plan.sandbox is None
    assert (plan.seccomp, plan.restricted_filesystem, plan.internet) == (True, True, False)


def test_what_a_host_cannot_do_is_not_asked_for(tmp_path: Path) -> None:
    plan = launched(tmp_path, NOTHING, sandbox={"filesystem": "restricted", "network": "none"})
    assert (plan.seccomp, plan.restricted_filesystem, plan.internet) == (False, False, True)


def test_every_limit_reaches_the_executor(tmp_path: Path) -> None:
    limits = {
        "wall_time_ms": 1,
        "cpu_time_sec": 2,
        "memory_bytes": 3,
        "pids_max": 4,
        "file_size_bytes": 5,
        "stdout_max_bytes": 6,
        "stderr_max_bytes": 7,
    }
    plan = launched(tmp_path, EVERYTHING, limits=limits)
    assert (plan.wall_time_ms, plan.cpu_time_s, plan.memory_bytes) == (1, 2, 3)
    assert (plan.pids_max, plan.file_size_bytes) == (4, 5)
    assert (plan.stdout_max_bytes, plan.stderr_max_bytes) == (6, 7)


def test_a_bound_on_processes_that_nothing_counts_is_not_asked_for(tmp_path: Path) -> None:
    assert launched(tmp_path, NOTHING, limits={"pids_max": 4}).pids_max is None


def test_a_plan_for_a_bubblewrap_that_is_gone_is_no_launch(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="bubblewrap"):
        launched(tmp_path, EVERYTHING, sandbox=SANDBOX)


@pytest.mark.parametrize("place", ["workers/other/workspace/root", "link"])
def test_no_root_lies_where_workers_write(tmp_path: Path, place: str) -> None:
    own, root = tmp_path / "workers" / "own", tmp_path / "workers" / "other" / "workspace" / "root"
    root.mkdir(parents=True)
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(SandboxSetupFailed, match="lies in the store"):
        launched(own, HERE, sandbox={**SANDBOX, "rootfs": str(tmp_path / place)})
    outside = str(tmp_path / "outside")
    given = launched(own, HERE, sandbox={**SANDBOX, "rootfs": outside}).sandbox
    assert given is not None
    assert given.rootfs == outside
