"""What `Executor.probe` says of a host is what a worker then gets."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.capabilities import MISSING, Found
from watchglass.runtime.executor import open_executor
from watchglass.runtime.executor._probing import survival
from watchglass.runtime.executor.host import limits_probe, linux

if TYPE_CHECKING:
    from runtime.executor.conftest import Lab

    from watchglass.runtime.cgroups import CgroupLaunch

pytestmark = pytest.mark.asyncio

NOBODY = 65534
PID_MAX = int(Path("/proc/sys/kernel/pid_max").read_text())


async def test_each_service_is_of_the_group_that_a_worker_gets(lab: Lab, cgroup: CgroupLaunch) -> None:
    limits = (await lab.executor.probe()).limits
    assert limits.cgroup == cgroup
    given = [service for folder in cgroup.folders for service in folder.serves]
    assert len(given) == len(set(given))
    for service, found in (("memory", limits.memory), ("pids", limits.pids), ("cpu_time", limits.cpu_time)):
        version = cgroup.version_for(service)  # type: ignore[arg-type]  # Out of a tuple of plain strings.
        assert (found.mechanism == f"cgroup_v{version}") == (version is not None)
    assert limits.cgroup_writable


async def test_nothing_is_left_unsaid_and_what_is_lacking_has_a_reason(lab: Lab) -> None:
    capabilities = await lab.executor.probe()
    found = [getattr(capabilities.limits, field.name) for field in dataclasses.fields(capabilities.limits)]
    for one in found:
        if isinstance(one, Found):
            assert one != MISSING
            assert one or one.reason
    assert capabilities.kernel == os.uname().release
    assert capabilities.collected_at_us > 0


async def test_workers_of_process_1_are_not_promised_to_outlive_it(lab: Lab) -> None:
    assert (await lab.executor.probe()).limits.survives_restart
    refused = survival(1)
    assert not refused
    assert "process 1" in str(refused.reason)


async def test_the_capacity_is_less_than_the_machine_has(lab: Lab) -> None:
    limits = (await lab.executor.probe()).limits
    assert limits.memory_capacity_bytes is not None
    assert limits.pids_capacity is not None
    assert 0 < limits.memory_capacity_bytes < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    assert 0 < limits.pids_capacity < PID_MAX


async def test_a_probe_leaves_no_group(lab: Lab, cgroup: CgroupLaunch) -> None:
    assert [path for path in _probers_groups(cgroup) if not _runs(path.name) and path.exists()] == []


def _probers_groups(cgroup: CgroupLaunch) -> list[Path]:
    return [path for folder in cgroup.folders for path in Path(folder.path).glob("*.probe")]


def _runs(group: str) -> bool:
    """Whether it is that of a prober at work, which may be another server's; it leaves after its group."""
    return Path(f"/proc/{group.partition('.')[0]}").exists()


async def test_without_control_groups_each_budget_says_what_it_lost() -> None:
    async with open_executor(cgroup_enabled=False) as executor:
        limits = (await executor.probe()).limits
    assert limits.cgroup is None
    assert not any((limits.memory, limits.cpu_time, limits.pids, limits.oom_detection, limits.cpu_quota))
    assert limits.tree_kill.mechanism == "subreaper"
    for found in (limits.memory, limits.cpu_time, limits.tree_kill, limits.pids, limits.cgroup_writable):
        assert "switched off" in str(found.reason)


async def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with open_executor(cgroup_root=tmp_path / "nowhere") as executor:
        limits = (await executor.probe()).limits
    if limits.cgroup_writable.reason == "no control group hierarchy is mounted":
        pytest.skip("no control group hierarchy is mounted here")
    assert limits.cgroup is None
    assert f"{tmp_path}/nowhere" in str(limits.cgroup_writable.reason)


async def test_groups_are_made_below_the_root_that_was_given(lab: Lab, cgroup: CgroupLaunch) -> None:
    base = Path(cgroup.folders[0].path).parent / f"given-{os.getpid()}"
    base.mkdir()
    try:
        async with open_executor(cgroup_root=base) as executor:
            given = (await executor.probe()).limits.cgroup
        assert given is not None
        assert [Path(folder.path).parent for folder in given.folders] == [base]
    finally:
        base.rmdir()


async def test_a_plain_user_is_told_who_refused_and_what_is_left() -> None:
    found = _probed_as_plain_user()["found"]
    if found["cgroup_writable"]["mechanism"] is not None:
        pytest.skip("control groups are delegated to every user here")
    lacking = {"memory": None, "cpu_time": None, "pids": None, "tree_kill": "subreaper"}
    for name, mechanism in lacking.items():
        assert found[name]["mechanism"] == mechanism
        assert any(said in found[name]["reason"] for said in ("Permission denied", "Read-only", "no control"))


def _probed_as_plain_user() -> dict[str, Any]:
    """By a fork: a user whom nothing belongs to could not even start our interpreter everywhere."""
    answer, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            linux.adopt_orphans()
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            told = limits_probe.probe({"cgroup_enabled": True, "cgroup_root": None})
            os.write(ours, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(ours)
    with os.fdopen(answer, "rb") as said:
        told = json.loads(said.read())
    os.waitpid(pid, 0)
    return dict(told)


async def test_a_probe_of_a_closed_executor_is_refused(lab: Lab) -> None:
    await lab.executor.close()
    with pytest.raises(LaunchFailed):
        await lab.executor.probe()
