"""A worker's control groups: joined before it runs, and gone when it is, whoever was killed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.cgroups import CgroupFolder, CgroupLaunch
from watchglass.runtime.executor import open_executor
from watchglass.runtime.executor.host import cgroup_removal, linux
from watchglass.runtime.executor.host.cgroup import Groups
from watchglass.runtime.executor.host.hierarchies import hierarchies

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.executor.conftest import Lab, Subject


KEEPER = """
import os, signal
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(tell, b"%d ready" % os.getpid())
    os.execve("/bin/sleep", ["sleep", "1000"], {})
os.wait()
os.write(1, os.read(ready, 100))
signal.pause()
"""


def paths_of(subject: Subject) -> list[Path]:
    return [Path(path) for path in json.loads((subject.directory / "run.json").read_bytes())["cgroups"]]


@pytest.mark.asyncio
async def test_a_worker_is_in_its_groups_before_it_runs(lab: Lab, cgroup: CgroupLaunch) -> None:
    said = (await (await lab.run("cat", "/proc/self/cgroup", cgroup=cgroup)).says()).decode()
    run = json.loads((lab.subjects[0].directory / "run.json").read_bytes())
    assert len(run["cgroups"]) == len(cgroup.folders)
    for path in map(Path, run["cgroups"]):
        assert any(line.endswith(f"/{path.parent.name}/{path.name}") for line in said.splitlines())


@pytest.mark.asyncio
async def test_that_it_is_in_them_is_read_back_from_the_kernel(lab: Lab, cgroup: CgroupLaunch) -> None:
    subject = await lab.run("cat", cgroup=cgroup)
    verified = subject.process.verified
    assert verified is not None
    assert verified.held_by == {service for folder in cgroup.folders for service in folder.serves}
    subject.process.close_stdin()
    await subject.exit()


def test_who_is_not_in_a_group_is_not_held_by_it(cgroup: CgroupLaunch) -> None:
    folders: list[dict[str, object]] = [
        {"path": folder.path, "version": folder.version, "serves": sorted(folder.serves)}
        for folder in cgroup.folders
    ]
    groups = Groups(folders, "nobody", memory_bytes=None, pids_max=None)
    try:
        assert groups.holding(Path("/proc/self/cgroup").read_bytes()) == []
    finally:
        assert groups.remove()


@pytest.mark.asyncio
async def test_its_children_are_born_in_them(lab: Lab, cgroup: CgroupLaunch) -> None:
    subject = await lab.python(KEEPER, cgroup=cgroup)
    daemon = int((await subject.until_says(b"ready")).split()[0])
    for path in paths_of(subject):
        assert cgroup_removal.members(str(path)) == {subject.process.pid, daemon}
    subject.process.kill()
    await subject.exit()
    assert not any(path.exists() for path in paths_of(subject))


@pytest.mark.asyncio
async def test_groups_that_its_processes_made_below_go_too(lab: Lab, cgroup: CgroupLaunch) -> None:
    subject = await lab.sh("echo ready; exec sleep 1000", cgroup=cgroup)
    await subject.until_says(b"ready")
    for path in paths_of(subject):
        (path / "inner" / "most").mkdir(parents=True)
    subject.process.kill()
    await subject.exit()
    assert not any(path.exists() for path in paths_of(subject))


@pytest.mark.asyncio
async def test_a_killed_supervisor_leaves_no_group_and_nobody_in_it(
    lab: Lab, cgroup: CgroupLaunch, is_alive: Callable[[int], bool]
) -> None:
    subject = await lab.python(KEEPER, cgroup=cgroup)
    daemon = int((await subject.until_says(b"ready")).split()[0])
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    assert (await subject.exit()).cause == "lost"
    assert not is_alive(daemon)
    assert lab.groups_left() == []


@pytest.mark.asyncio
async def test_when_everybody_who_watched_was_killed_the_groups_tell_who_is_left(
    lab: Lab,
    make_lab: type[Lab],
    cgroup: CgroupLaunch,
    tmp_path: Path,
    is_alive: Callable[[int], bool],
) -> None:
    """No parent and no mark in its environment leads to this daemon."""
    place = tmp_path / "before"
    place.mkdir()
    async with open_executor() as former:
        subject = await make_lab(former, place).python(KEEPER, cgroup=cgroup, outlives_server=True)
        daemon = int((await subject.until_says(b"ready")).split()[0])
        watchers = former.spawn_daemon_pid, subject.process.supervisor_pid
        await former.close(keep_outliving=True)
    for pid in watchers:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    adopted = await lab.adopt(subject.plan, subject.output)
    assert (await adopted.exit()).cause == "lost"
    assert not is_alive(daemon)
    assert not any(path.exists() for path in paths_of(adopted))


@pytest.mark.asyncio
async def test_what_a_crash_left_is_killed_by_the_next_probe(lab: Lab, cgroup: CgroupLaunch) -> None:
    """A crash of everybody at once leaves a group that is named after a dead supervisor."""
    left, paths = _left_behind(cgroup)
    await lab.executor.probe()
    assert await asyncio.to_thread(left.wait) == -signal.SIGKILL
    assert not any(path.exists() for path in paths)


def _left_behind(cgroup: CgroupLaunch) -> tuple[subprocess.Popen[bytes], list[Path]]:
    dying = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    name = f"{dying.pid}.{linux.start_ticks(dying.pid)}.left"
    paths = [Path(folder.path) / name for folder in cgroup.folders]
    left = subprocess.Popen(["/bin/sleep", "1000"])
    for path in paths:
        path.mkdir(parents=True)
        (path / "cgroup.procs").write_text(str(left.pid))
    dying.communicate()  # From now on whoever probes here may sweep them.
    return left, paths


@pytest.mark.asyncio
async def test_a_probe_leaves_the_workers_of_others_alone(lab: Lab, cgroup: CgroupLaunch) -> None:
    subject = await lab.run("cat", cgroup=cgroup)
    async with open_executor() as other:
        await other.probe()
    subject.process.close_stdin()
    assert (await subject.exit()).code == 0


@pytest.mark.asyncio
async def test_an_executor_that_closes_leaves_no_folder_of_its_own(lab: Lab, cgroup: CgroupLaunch) -> None:
    moved = CgroupLaunch(
        tuple(
            CgroupFolder(path=f"{folder.path}-{os.getpid()}", version=folder.version, serves=folder.serves)
            for folder in cgroup.folders
        )
    )
    folders = [Path(folder.path) for folder in moved.folders]
    await (await lab.run("true", cgroup=moved)).exit()
    assert all(folder.is_dir() for folder in folders)
    await lab.executor.close()
    assert not any(folder.exists() for folder in folders)


@pytest.mark.asyncio
async def test_a_group_that_cannot_be_made_ends_the_launch(lab: Lab, tmp_path: Path) -> None:
    nowhere = CgroupFolder(path=str(tmp_path / "no" / "such"), version=1, serves=frozenset({"memory"}))
    with pytest.raises(LaunchFailed) as caught:
        await lab.run("true", cgroup=CgroupLaunch((nowhere,)))
    assert (caught.value.step, caught.value.error_number) == ("cgroup", errno.ENOENT)
    assert caught.value.subject == nowhere.path


@pytest.mark.asyncio
async def test_a_group_that_cannot_be_limited_ends_the_launch(lab: Lab, tmp_path: Path) -> None:
    """A folder that is no control group has no such file."""
    folder = CgroupFolder(path=str(tmp_path / "groups"), version=1, serves=frozenset({"pids"}))
    with pytest.raises(LaunchFailed) as caught:
        await lab.run("true", cgroup=CgroupLaunch((folder,)), pids_max=5)
    assert (caught.value.step, caught.value.error_number) == ("cgroup", errno.ENOENT)
    assert caught.value.subject.endswith("/pids.max")
    assert list((tmp_path / "groups").iterdir()) == []


@pytest.mark.asyncio
async def test_a_group_that_cannot_be_joined_ends_the_launch(lab: Lab, tmp_path: Path) -> None:
    folder = CgroupFolder(path=str(tmp_path / "groups"), version=1, serves=frozenset())
    with pytest.raises(LaunchFailed) as caught:
        await lab.sh("touch ran", cgroup=CgroupLaunch((folder,)))
    assert (caught.value.step, caught.value.error_number) == ("cgroup", errno.ENOENT)
    assert list((tmp_path / "groups").iterdir()) == []
    assert not (tmp_path / "worker-0" / "ran").exists()


@pytest.mark.asyncio
async def test_the_v1_freezer_holds_a_tree_still_while_it_is_killed(lab: Lab) -> None:
    found = [hierarchy for hierarchy in hierarchies() if "freezer" in hierarchy.controllers]
    if not found or not os.access(found[0].own, os.W_OK):
        pytest.skip("this host has no writable v1 freezer")
    path = f"{found[0].own}/{cgroup_removal.parent_name()}"
    folder = CgroupFolder(path=path, version=1, serves=frozenset({"freeze"}))
    subject = await lab.python(KEEPER, cgroup=CgroupLaunch((folder,)))
    await subject.until_says(b"ready")
    subject.process.kill()
    ended = await subject.exit()
    assert (ended.cause, ended.strays_killed) == ("kill", 1)


@pytest.mark.parametrize("name", ["none", "1.x", "x.1.a", ".1", "1"])
def test_a_folder_that_is_no_workers_group_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert cgroup_removal.sweep([str(tmp_path)], within_s=0.1) == 0
    assert (tmp_path / name).is_dir()


def test_a_group_of_a_pid_that_is_somebody_elses_now_is_left_over(tmp_path: Path) -> None:
    own = os.getpid()
    (tmp_path / f"{own}.{linux.start_ticks(own) + 1}.w").mkdir()
    (tmp_path / f"{own}.{linux.start_ticks(own)}.w").mkdir()
    assert cgroup_removal.sweep([str(tmp_path)], within_s=0.1) == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"{own}.{linux.start_ticks(own)}.w"]
