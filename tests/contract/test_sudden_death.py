"""Whoever is killed with SIGKILL, no process of a worker outlives who should have watched it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.api import Api
from support.feed import data_of, in_thread, names, observing
from support.page_cache import is_unwritten, why_untold
from support.processes import children, marked, parent, pids, wait_gone, wait_true
from support.programs import program
from support.serving import Served, durable_server, serving

pytestmark = pytest.mark.trio

FLAGS = ["--runtime-id=rt-sudden", "--max-running-workers=2"]


SHARED = {"pid": False}
"""A namespace of processes would end with its first one, whoever that one is bound to."""


def tree(pid: int) -> list[int]:
    """A process, and all below it."""
    return [pid, *(each for child in children(pid) for each in tree(child))]


async def with_a_daemon(served: Served) -> tuple[dict[str, object], int]:
    """A worker whose daemon left its session, and the daemon's pid."""
    worker = await in_thread(Api(served).create, *program("daemon", "stay"))
    async with observing(served, worker["worker_id"], "earliest") as observer:
        return worker, int(await observer.until_text("\n"))


async def test_a_killed_server_takes_its_workers_with_it(tmp_path: Path) -> None:
    with serving(tmp_path, "--runtime-id=rt-killed") as server:
        _, daemon = await with_a_daemon(server)
        for argv in (["cat"], program("stubborn"), ["sh", "-c", "sleep 600 & sleep 600"]):
            await in_thread(Api(server).create, *argv)
        await in_thread(wait_true, lambda: len(marked("rt-killed")) >= 6, "the shell has its children")
        [spawn_daemon] = children(server.process.pid)
        family = [spawn_daemon, *children(spawn_daemon), daemon]
        server.process.kill()
        server.process.wait()
        await in_thread(wait_true, lambda: not marked("rt-killed"), "workers outlive their server")
        for pid in family:
            await in_thread(wait_gone, pid)


async def test_a_killed_supervisor_loses_its_worker_and_kills_its_tree(served: Served) -> None:
    api = Api(served)
    worker, daemon = await with_a_daemon(served)
    worker_id, pid = str(worker["worker_id"]), worker["pid"]
    assert isinstance(pid, int)
    supervisor = parent(pid)
    assert supervisor != served.process.pid
    async with observing(served, worker_id) as observer:
        await observer.event()
        os.kill(supervisor, signal.SIGKILL)
        ended = await observer.until("end")
        assert daemon not in pids()
        assert marked("rt-sudden", worker_id) == set()
    assert data_of(ended, "exit") == [{"code": None, "signal": None, "reason": "lost"}]
    assert names(ended)[-3:] == ["exit", "status", "end"]
    lost = await in_thread(api.worker, worker_id)
    assert (lost["status"], lost["phase"]) == ("stopped", "lost")
    assert (await in_thread(api.get, "/v1/runtime"))["runtime"]["reserved"]["task_slots"] == 0
    assert (await in_thread(api.act, worker_id, "stop"))["phase"] == "lost"


async def test_a_killed_spawn_daemon_costs_no_worker_and_no_launch(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, "cat"))["worker_id"]
    [spawn_daemon] = children(served.process.pid)
    os.kill(spawn_daemon, signal.SIGKILL)
    await in_thread(wait_gone, spawn_daemon)
    next_id = (await in_thread(api.create, *program("daemon")))["worker_id"]
    async with observing(served, next_id, "earliest") as observer:
        daemon = int(await observer.until_text("\n"))
        await observer.until("end")
        assert daemon not in pids()
    async with observing(served, worker_id, "earliest") as observer:
        await in_thread(api.say, worker_id, "still here")
        await observer.until_text("still here\n")
        await in_thread(api.act, worker_id, "stop")
        assert data_of(await observer.until("end"), "exit")[0]["reason"] == "stopped"
    assert marked("rt-sudden") == set()
    assert (await in_thread(api.get, "/v1/runtime"))["runtime"]["reserved"]["task_slots"] == 0


async def test_a_killed_supervisor_of_a_dead_spawn_daemon_leaves_nothing_either(served: Served) -> None:
    worker, daemon = await with_a_daemon(served)
    worker_id, pid = str(worker["worker_id"]), worker["pid"]
    assert isinstance(pid, int)
    supervisor = parent(pid)
    [spawn_daemon] = children(served.process.pid)
    async with observing(served, worker_id) as observer:
        await observer.event()
        os.kill(spawn_daemon, signal.SIGKILL)
        await in_thread(wait_gone, spawn_daemon)
        os.kill(supervisor, signal.SIGKILL)
        ended = await observer.until("end")
    assert data_of(ended, "exit") == [{"code": None, "signal": None, "reason": "lost"}]
    assert daemon not in pids()
    assert marked("rt-sudden", worker_id) == set()


async def test_an_end_that_a_server_heard_right_before_its_death_is_on_the_disk_all_the_same(
    tmp_path: Path,
) -> None:
    """Its supervisor rests by then, and sees to it before it leaves."""
    if reason := why_untold(tmp_path):
        pytest.skip(reason)
    with durable_server(tmp_path) as place, place.serving() as served:
        worker = await in_thread(Api(served).create, "cat")
        supervisor = parent(worker["pid"])
        async with observing(served, worker["worker_id"]) as observer:
            await in_thread(Api(served).act, worker["worker_id"], "stop")
            await observer.until("end")
        place.kill()
        await in_thread(wait_gone, supervisor)
        assert not is_unwritten(place.worker_dir(worker["worker_id"]) / "exit.json")


@pytest.mark.parametrize("profile", ["process", "linux_sandbox"])
async def test_a_supervisor_that_is_killed_while_no_server_is_there_takes_its_worker_with_it(
    tmp_path: Path, profile: str
) -> None:
    """Nobody is left who could kill it, and no group tells of it: the kernel does, for it was its parent."""
    with durable_server(tmp_path) as place, place.serving("--no-cgroups") as served:
        worker = await in_thread(
            lambda: Api(served).create("sleep", "600", sandbox={"profile": profile, "namespaces": SHARED})
        )
        supervisor, [spawn_daemon] = parent(worker["pid"]), children(served.process.pid)
        family = tree(worker["pid"])
        place.kill()
        os.kill(spawn_daemon, signal.SIGKILL)
        await in_thread(wait_gone, spawn_daemon)
        assert parent(worker["pid"]) == supervisor
        os.kill(supervisor, signal.SIGKILL)
        for pid in family:
            await in_thread(wait_gone, pid)
