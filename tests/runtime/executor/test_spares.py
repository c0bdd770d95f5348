"""A supervisor whose worker is over has another one, and nothing of the first is left in it."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.cgroups import CgroupLaunch
from watchglass.runtime.executor import _spares, open_executor

from support.page_cache import is_unwritten, why_untold
from support.processes import wait_gone, wait_true
from support.tasks import until

if TYPE_CHECKING:
    from runtime.executor.conftest import Lab, Subject

pytestmark = pytest.mark.asyncio

SLEEP = "sleep 1000"
BUSY = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; seq 1000; sleep 1000 & exit 1"
SYNCS_BY_OTHERS_MAX = 5
"""Any process of the host may bring all that is written to the disk, at any moment; not so often."""
UntilGone = Callable[[int], Coroutine[None, None, None]]


def descriptors(pid: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}


def is_at_rest(subject: Subject) -> bool:
    """Whether its supervisor has given up everything but its channel and what the worker's end is in."""
    held = Path(f"/proc/{subject.process.supervisor_pid}/fd")
    names = descriptors(subject.process.supervisor_pid) - {0, 1, 2}
    try:
        files = {(held / str(name)).readlink() for name in names}
    except FileNotFoundError:  # It is just closing them.
        return False
    return len(names) == 2 and subject.directory / "exit.json" in files


async def ended(lab: Lab, script: str = "exit 0", **more: object) -> Subject:
    """A worker that is over, and whose supervisor is free."""
    subject = await lab.sh(script, **more)
    await subject.exit()
    wait_true(lambda: is_at_rest(subject), "the supervisor is at rest")
    await until_free(lab)
    return subject


async def until_free(lab: Lab) -> None:
    """Return when the executor has heard of it, and so has forgotten the worker."""
    await until(lambda: not lab.executor._processes)


async def test_one_supervisor_has_one_worker_after_the_other(
    lab: Lab, cgroup_if_any: CgroupLaunch | None
) -> None:
    first = await ended(lab, "echo one; exit 3", cgroup=cgroup_if_any)
    second = await ended(lab, "echo two; kill -9 $$", cgroup=cgroup_if_any, outlives_server=True)
    third = await lab.run("cat", cgroup=cgroup_if_any, outlives_server=True)
    subjects = first, second, third
    assert len({subject.process.supervisor_pid for subject in subjects}) == 1
    assert len({subject.process.pid for subject in subjects}) == 3
    assert [first.read_all()["stdout"], second.read_all()["stdout"]] == [b"one\n", b"two\n"]
    assert ((await first.exit()).code, (await second.exit()).signal) == (3, signal.SIGKILL)
    for subject in subjects:
        run = json.loads((subject.directory / "run.json").read_bytes())
        assert (run["worker"]["pid"], run["plan"]["cookie"]) == (subject.process.pid, subject.plan.cookie)


@pytest.fixture
def synced(tmp_path: Path) -> Callable[[Subject], bool]:
    """Whether the exit of a worker is on the disk; the test is skipped where the kernel does not say so."""
    if reason := why_untold(tmp_path):
        pytest.skip(reason)
    return lambda subject: not is_unwritten(subject.directory / "exit.json")


async def ended_unsynced(lab: Lab, synced: Callable[[Subject], bool]) -> Subject:
    """A worker whose supervisor is free, and has left its exit to the server."""
    for _ in range(SYNCS_BY_OTHERS_MAX):
        subject = await ended(lab)
        if not synced(subject):
            return subject
    pytest.fail("each exit is on the disk at once: its server waited for that, and keeps it anyway")


async def test_what_one_worker_counted_is_not_the_next_ones(lab: Lab) -> None:
    busy = await ended(lab, BUSY)
    idle = await ended(lab, "exit 0")
    assert idle.process.supervisor_pid == busy.process.supervisor_pid
    before, after = await busy.exit(), await idle.exit()
    assert (before.strays_killed, after.strays_killed) == (1, 0)
    assert (before.stdout.total_bytes > 0, after.stdout.total_bytes) == (True, 0)
    assert before.usage is not None
    assert after.usage is not None
    assert after.usage.user_cpu_ms < before.usage.user_cpu_ms


async def test_a_supervisor_at_rest_has_no_descriptor_but_its_channel_and_the_last_exit(lab: Lab) -> None:
    subject = await ended(lab, "seq 10; echo said >&2", outlives_server=True)
    for _ in range(20):
        subject = await ended(lab, outlives_server=True)
        assert is_at_rest(subject)


async def test_what_was_sent_to_a_worker_that_is_over_reaches_no_other(lab: Lab) -> None:
    first = await lab.sh("exit 0")
    for _ in range(10):
        first.process.write_input(b"late")
    first.process.signal(signal.SIGKILL)
    first.process.kill()
    await first.exit()
    await until_free(lab)
    first.process.write_input(b"later")
    first.process.kill()
    second = await lab.run("cat")
    first.process.write_input(b"latest")
    first.process.stop()
    assert second.process.supervisor_pid == first.process.supervisor_pid
    second.process.write_input(b"own")
    second.process.close_stdin()
    assert await second.says() == b"own"
    assert (await second.exit()).code == 0


async def test_a_supervisor_that_was_killed_at_rest_is_not_asked(lab: Lab) -> None:
    for _ in range(3):
        subject = await ended(lab)
        os.kill(subject.process.supervisor_pid, signal.SIGKILL)
        wait_gone(subject.process.supervisor_pid)
        assert await (await lab.sh("echo well")).says() == b"well\n"


async def test_one_that_was_free_and_died_before_we_heard_of_it_has_told_its_end(lab: Lab) -> None:
    """The loop stands still here from the start of the worker to the death of its supervisor."""
    subject = await lab.sh("read -r line; exit 3")
    subject.process.close_stdin()
    wait_true(lambda: is_at_rest(subject), "the supervisor is at rest")
    os.kill(subject.process.supervisor_pid, signal.SIGKILL)
    wait_gone(subject.process.supervisor_pid)
    subject.process._on_supervisor_death()  # As the loop may do, which has both to tell.
    assert (await subject.exit()).code == 3
    await until_free(lab)
    assert await (await lab.sh("echo well")).says() == b"well\n"


async def test_a_supervisor_is_lost_with_its_second_worker_alone(lab: Lab) -> None:
    first = await ended(lab)
    second = await lab.sh(SLEEP)
    os.kill(second.process.supervisor_pid, signal.SIGKILL)
    assert (await second.exit()).cause == "lost"
    assert (await first.exit()).cause is None


async def test_a_worker_that_did_not_start_leaves_no_supervisor(lab: Lab, until_gone: UntilGone) -> None:
    free = await ended(lab)
    with pytest.raises(LaunchFailed) as caught:
        await lab.run("no-such-program")
    assert caught.value.error_number == errno.ENOENT
    await until_gone(free.process.supervisor_pid)
    assert await (await lab.sh("echo well")).says() == b"well\n"


async def test_one_that_nobody_takes_leaves(
    lab: Lab, until_gone: UntilGone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_spares, "REST_S_MAX", 0.01)
    await until_gone((await ended(lab)).process.supervisor_pid)


async def test_no_more_are_kept_than_a_few(lab: Lab, is_alive: Callable[[int], bool]) -> None:
    subjects = [await lab.run("cat") for _ in range(_spares.SPARES_MAX + 4)]
    for subject in subjects:
        subject.process.close_stdin()
    for subject in subjects:
        await subject.exit()
    await until_free(lab)
    pids = [subject.process.supervisor_pid for subject in subjects]
    wait_true(lambda: sum(map(is_alive, pids)) == _spares.SPARES_MAX, "those too many have left")


async def test_none_is_taken_whose_spawn_daemon_died(lab: Lab, until_gone: UntilGone) -> None:
    """For what a killed supervisor leaves is found by the daemon that forked it."""
    subject = await ended(lab)
    daemon = lab.executor.spawn_daemon_pid
    assert daemon is not None
    os.kill(daemon, signal.SIGKILL)
    await until_gone(daemon)
    other = await lab.run("cat")
    assert other.process.supervisor_pid != subject.process.supervisor_pid
    await until_gone(subject.process.supervisor_pid)


async def test_they_leave_with_their_executor_also_when_workers_stay(
    lab: Lab, make_lab: type[Lab], tmp_path: Path, is_alive: Callable[[int], bool]
) -> None:
    place = tmp_path / "former"
    place.mkdir()
    async with open_executor() as executor:
        before = make_lab(executor, place)
        stays = await before.run("cat", outlives_server=True)
        resting = await ended_beside(before, stays)
        await executor.close(keep_outliving=True)
        assert not is_alive(resting.process.supervisor_pid)
    adopted = await lab.adopt(stays.plan)
    adopted.process.close_stdin()
    await adopted.exit()
    wait_gone(stays.process.supervisor_pid)  # One that was adopted has no other worker.


async def ended_beside(lab: Lab, other: Subject) -> Subject:
    subject = await lab.sh("exit 0")
    await subject.exit()
    wait_true(lambda: is_at_rest(subject), "the supervisor is at rest")
    await until(lambda: set(lab.executor._processes) == {other.process})
    return subject


async def test_an_end_that_no_server_heard_is_found_though_its_supervisor_has_another_worker(
    lab: Lab, make_lab: type[Lab], tmp_path: Path
) -> None:
    place = tmp_path / "former"
    place.mkdir()
    async with open_executor() as executor:
        before = make_lab(executor, place)
        first = await ended(before, "echo one; exit 7", outlives_server=True)
        second = await before.run("cat", outlives_server=True)
        assert first.process.supervisor_pid == second.process.supervisor_pid
        await executor.close(keep_outliving=True)
    over = await lab.adopt(first.plan)
    assert (await over.exit()).code == 7
    assert over.read_all()["stdout"] == b"one\n"
    adopted = await lab.adopt(second.plan)
    assert adopted.process.exit is None
    adopted.process.write_input(b"still here")
    adopted.process.close_stdin()
    assert await adopted.says() == b"still here"


async def test_the_exit_of_its_last_worker_is_on_the_disk_when_its_server_has_left(
    lab: Lab, synced: Callable[[Subject], bool]
) -> None:
    """The server's own record of it may not be there yet."""
    subject = await ended_unsynced(lab, synced)
    await lab.executor.close()
    wait_gone(subject.process.supervisor_pid)
    assert synced(subject)


async def test_an_exit_that_its_server_keeps_costs_the_next_worker_no_sync(
    lab: Lab, synced: Callable[[Subject], bool]
) -> None:
    for _ in range(SYNCS_BY_OTHERS_MAX):
        before, after = await ended(lab), await ended(lab)
        assert after.process.supervisor_pid == before.process.supervisor_pid
        if not synced(before):
            return
    pytest.fail("an exit that its server has is synced before the next worker")


async def test_an_exit_that_no_server_heard_is_on_the_disk_when_its_supervisor_has_left(
    make_lab: type[Lab], tmp_path: Path, synced: Callable[[Subject], bool]
) -> None:
    async with open_executor() as executor:
        subject = await make_lab(executor, tmp_path).run("cat", outlives_server=True)
        await executor.close(keep_outliving=True)
    os.kill(subject.process.pid, signal.SIGKILL)
    wait_gone(subject.process.supervisor_pid)
    assert synced(subject)
