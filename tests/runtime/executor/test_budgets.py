"""Budgets hold for the whole tree of a worker, with control groups and, weaker and told so, without."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtime.executor.conftest import Lab

    from watchglass.runtime.cgroups import CgroupLaunch

pytestmark = pytest.mark.asyncio

MIB = 1 << 20
FORK_BOMB = """
import os, signal
while True:
    try:
        os.fork()
    except OSError:
        os.write(1, b"refused")
        signal.pause()
"""
WITH_A_DAEMON = """
import os, signal
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(tell, b"x")
    os.execve("/bin/sleep", ["sleep", "1000"], {})
os.wait()
os.read(ready, 1)
print("ready", flush=True)
"""
TAKE_200_MIB = f"{sys.executable} -I -S -c 'bytearray(200 << 20)'"
BURN = "while :; do :; done"


# Processes


async def test_a_fork_bomb_is_held_and_dies_as_a_whole(lab: Lab, cgroup: CgroupLaunch) -> None:
    subject = await lab.python(FORK_BOMB, cgroup=cgroup, pids_max=20)
    await subject.until_says(b"refused")
    subject.process.kill()
    ended = await subject.exit()
    assert ended.usage is not None
    assert (ended.signal, ended.cause) == (signal.SIGKILL, "kill")
    assert ended.strays_killed == 19
    assert ended.usage.forks_refused


async def test_one_that_gives_up_at_its_bound_on_processes_is_told_from_a_failure(
    lab: Lab, cgroup: CgroupLaunch
) -> None:
    subject = await lab.sh("sleep 1000 & sleep 1000 & sleep 1000 & wait", cgroup=cgroup, pids_max=3)
    ended = await subject.exit()
    assert ended.cause == "pids"
    assert ended.code not in {None, 0}
    assert (ended.usage and ended.usage.forks_refused) == 1


async def test_one_that_copes_with_its_bound_on_processes_has_succeeded(
    lab: Lab, cgroup: CgroupLaunch
) -> None:
    subject = await lab.python(
        "import os\ntry: os.fork()\nexcept OSError: print('alone')", cgroup=cgroup, pids_max=1
    )
    ended = await subject.exit()
    assert (ended.code, ended.cause, ended.usage and ended.usage.forks_refused) == (0, None, 1)


# Memory


async def test_a_worker_that_takes_too_much_memory_is_told_from_a_killed_one(
    lab: Lab, cgroup: CgroupLaunch
) -> None:
    ended = await (await lab.python("bytearray(200 << 20)", cgroup=cgroup, memory_bytes=64 * MIB)).exit()
    assert ended.usage is not None
    assert (ended.code, ended.signal, ended.cause) == (None, signal.SIGKILL, "memory")
    assert ended.usage.oom_kills == 1
    assert ended.usage.memory_peak_bytes is None or ended.usage.memory_peak_bytes <= 64 * MIB


@pytest.mark.parametrize("code", [0, 5])
async def test_a_grandchild_out_of_memory_fails_its_worker_whatever_the_leader_exits_with(
    lab: Lab, cgroup: CgroupLaunch, code: int
) -> None:
    """Where the kernel kills the whole group (v2), the leader has no word in it."""
    subject = await lab.sh(f"{TAKE_200_MIB}; exit {code}", cgroup=cgroup, memory_bytes=64 * MIB)
    ended = await subject.exit()
    assert ended.usage is not None
    assert ended.usage.oom_kills
    if cgroup.version_for("memory") == 1:
        assert (ended.code, ended.cause) == (code, "memory")
    else:
        assert (ended.signal, ended.cause) == (signal.SIGKILL, "memory")


async def test_without_a_group_memory_is_refused_to_each_process(lab: Lab) -> None:
    ended = await (await lab.python("bytearray(200 << 20)", memory_bytes=64 * MIB)).exit()
    assert ended.usage is not None
    assert (ended.code, ended.cause) == (1, None)
    assert (ended.usage.oom_kills, ended.usage.memory_peak_bytes) == (None, None)


async def test_without_a_group_the_sum_of_the_tree_is_looked_at(lab: Lab) -> None:
    """Eight processes, and all of them are there before one of them takes any."""
    script = """
import os, signal
everybody, is_there = os.pipe()
for _ in range(7):
    if os.fork() == 0:
        break
os.close(is_there)
os.read(everybody, 1)
kept = bytearray(b'x' * (20 << 20))
signal.pause()
"""
    ended = await (await lab.python(script, memory_bytes=100 * MIB)).exit()
    assert (ended.signal, ended.cause, ended.strays_killed) == (signal.SIGKILL, "memory", 7)


async def test_pages_that_processes_share_count_once(lab: Lab) -> None:
    """Eight processes share 40 MiB: together they are below 100, though each shows them as resident."""
    script = """
import os, signal, time
kept = bytearray(b'x' * (40 << 20))
children = [pid for pid in (os.fork() for _ in range(3)) if pid]
deadline = time.monotonic() + 1.2
while time.monotonic() < deadline:
    time.sleep(0.1)
for pid in children:
    os.waitpid(pid, 0)
"""
    ended = await (await lab.python(script, memory_bytes=100 * MIB)).exit()
    assert (ended.code, ended.cause) == (0, None)


# CPU time


async def test_cpu_time_is_the_sum_of_the_tree(lab: Lab, cgroup_if_any: CgroupLaunch | None) -> None:
    """None of the three reaches the limit by itself."""
    script = f"for i in 1 2 3; do ({BURN}) & done; wait"
    ended = await (await lab.sh(script, cgroup=cgroup_if_any, cpu_time_s=1)).exit()
    assert ended.usage is not None
    assert (ended.signal, ended.cause) == (signal.SIGXCPU, "cpu_time")
    assert ended.usage.user_cpu_ms + ended.usage.system_cpu_ms >= 950


async def test_one_that_handles_the_end_of_its_cpu_time_may_say_goodbye(
    lab: Lab, cgroup_if_any: CgroupLaunch | None
) -> None:
    subject = await lab.sh(f"trap 'echo bye; exit 3' XCPU; {BURN}", cgroup=cgroup_if_any, cpu_time_s=1)
    ended = await subject.exit()
    assert (ended.code, ended.cause) == (3, "cpu_time")
    assert subject.read_all()["stdout"] == b"bye\n"


async def test_one_that_ignores_the_end_of_its_cpu_time_is_killed(lab: Lab, cgroup: CgroupLaunch) -> None:
    ended = await (await lab.sh(f"trap '' XCPU; {BURN}", cgroup=cgroup, cpu_time_s=1)).exit()
    assert (ended.signal, ended.cause) == (signal.SIGKILL, "cpu_time")


# Files


async def test_a_file_that_grows_too_long_ends_its_writer(lab: Lab) -> None:
    subject = await lab.sh("exec head -c 5000 /dev/zero > long", file_size_bytes=4096)
    ended = await subject.exit()
    assert (ended.signal, ended.cause) == (signal.SIGXFSZ, "file_size")
    assert (subject.directory / "long").stat().st_size == 4096


async def test_the_bound_on_files_is_not_one_on_output(lab: Lab) -> None:
    subject = await lab.sh("exec head -c 5000 /dev/zero", file_size_bytes=4096)
    assert len(await subject.says()) == 5000


async def test_a_gibibyte_of_output_leaves_what_its_bound_says(lab: Lab) -> None:
    subject = await lab.sh("exec head -c 1G /dev/zero", stdout_max_bytes=MIB)
    ended = await subject.exit()
    assert (ended.code, ended.stdout.total_bytes, ended.stdout.kept_bytes) == (0, 1 << 30, MIB)
    assert (subject.directory / "stdout.log").stat().st_size == MIB


# The end


async def test_a_daemon_with_a_session_and_an_environment_of_its_own_dies_with_a_normal_exit(
    lab: Lab, cgroup_if_any: CgroupLaunch | None
) -> None:
    ended = await (await lab.python(WITH_A_DAEMON, cgroup=cgroup_if_any)).exit()
    assert (ended.code, ended.cause, ended.strays_killed) == (0, None, 1)


async def test_a_daemon_with_a_session_and_an_environment_of_its_own_dies_with_a_kill(
    lab: Lab, cgroup_if_any: CgroupLaunch | None
) -> None:
    subject = await lab.python(WITH_A_DAEMON + "signal.pause()", cgroup=cgroup_if_any)
    await subject.until_says(b"ready")
    subject.process.kill()
    ended = await subject.exit()
    assert (ended.signal, ended.cause, ended.strays_killed) == (signal.SIGKILL, "kill", 1)


@pytest.mark.parametrize(("script", "code", "number"), [("exit 137", 137, None), ("kill -9 $$", None, 9)])
async def test_a_sigkill_and_an_exit_137_are_told_apart_and_are_no_lack_of_memory(
    lab: Lab, cgroup_if_any: CgroupLaunch | None, script: str, code: int | None, number: int | None
) -> None:
    ended = await (await lab.sh(script, cgroup=cgroup_if_any, memory_bytes=64 * MIB)).exit()
    assert (ended.code, ended.signal, ended.cause) == (code, number, None)
