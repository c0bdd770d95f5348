"""A fork into a control group: born there, like any other fork, or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from watchglass.runtime.executor.host import cgroup_removal, cloning
from watchglass.runtime.executor.host.hierarchies import hierarchies

if TYPE_CHECKING:
    from collections.abc import Iterator

FORKS = """
import json, os, sys
sys.path.append(sys.argv[2])
from cloning import fork_into

told, tell = os.pipe()
said = []
os.register_at_fork(
    before=lambda: said.append("before"),
    after_in_parent=lambda: said.append("parent"),
    after_in_child=lambda: said.append("child"),
)
own, open_before = os.getpid(), os.listdir("/proc/self/fd")
group = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
try:
    pid = fork_into(group)
except OSError as refused:
    children = open("/proc/self/task/%d/children" % own).read()
    print(json.dumps({"errno": refused.errno, "said": said, "children": children}))
    sys.exit()
os.close(group)
if pid == 0:
    groups = open("/proc/self/cgroup").read()
    found = {"pid": os.getpid(), "parent": os.getppid(), "groups": groups, "said": said}
    os.write(tell, json.dumps(found).encode())
    os._exit(7)
reaped, status = os.waitpid(pid, 0)
print(json.dumps({
    "own": own,
    "pid": pid,
    "reaped": reaped,
    "code": os.waitstatus_to_exitcode(status),
    "groups": open("/proc/self/cgroup").read(),
    "said": said,
    "child": json.loads(os.read(told, 1 << 16)),
    "leaks": len(os.listdir("/proc/self/fd")) - len(open_before),
}))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A fresh v2 group below our own, which goes with everybody in it."""
    own = next((Path(each.own) for each in hierarchies() if each.version == 2), None)
    if own is None:
        pytest.skip("no cgroup v2 is mounted here")
    made = own / f"watchglass-cloning-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as refused:
        pytest.skip(f"no control group can be made here: {refused}")
    try:
        yield made
    finally:
        cgroup_removal.kill(str(made))
        if made.exists():
            made.rmdir()


def fork_once(folder: Path) -> dict[str, Any]:
    """What a process with a single thread found when it forked into the group of a folder."""
    command = [sys.executable, "-I", "-S", "-c", FORKS, str(folder), str(Path(cloning.__file__).parent)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    said = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


def v2_group_of(groups: str) -> str:
    return next(line for line in groups.splitlines() if line.startswith("0::"))


def test_the_child_is_in_the_group_with_its_first_step_and_the_parent_stays_outside(group: Path) -> None:
    said = fork_once(group)
    assert v2_group_of(said["child"]["groups"]).endswith(f"/{group.name}")
    assert group.name not in said["groups"]
    assert cgroup_removal.members(str(group)) == set()


def test_parent_and_child_know_each_other_and_the_child_is_reaped_as_any_other(group: Path) -> None:
    said = fork_once(group)
    assert (said["child"]["pid"], said["child"]["parent"]) == (said["pid"], said["own"])
    assert (said["reaped"], said["code"]) == (said["pid"], 7)
    assert said["leaks"] == 0


def test_what_others_do_at_a_fork_is_done_on_both_sides(group: Path) -> None:
    said = fork_once(group)
    assert said["said"] == ["before", "parent"]
    assert said["child"]["said"] == ["before", "child"]


def test_a_folder_that_is_no_group_is_refused_and_nobody_is_forked(tmp_path: Path) -> None:
    said = fork_once(tmp_path)
    assert (said["errno"], said["children"]) == (errno.EBADF, "")
    assert said["said"] == ["before", "parent"], "the one that stays goes on as it was"
