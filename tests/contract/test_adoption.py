"""Processes whose server was killed: the next one takes them up, and tells what happened meanwhile."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from support.api import Api
from support.chatter import Chatterer, Heard
from support.feed import data_of, in_thread, journal, names, observing, text_of
from support.mortal import Whereabouts, follow
from support.processes import parent, wait_gone, wait_true
from support.programs import program
from support.serving import Place, Served, durable_server

pytestmark = pytest.mark.trio

BLOCKED = "mkfifo go; cat go; "
"""A shell that says nothing and waits until somebody lets it go on."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path, "--grace-ms=500", runtime_id="rt-adopt") as place:
        yield place


@contextmanager
def last(place: Place, *flags: str) -> Iterator[Served]:
    """The last server of a test, which ends every worker."""
    with place.serving(*flags) as served:
        yield served
        assert place.drain() == 0


async def create(served: Served, *argv: str, **request: Any) -> Any:
    return await in_thread(Api(served).create, *argv, **request)


def let_go(place: Place, worker_id: str) -> None:
    """Let a blocked shell go on; returns when it does."""
    fifo = place.worker_dir(worker_id) / "workspace" / "go"
    wait_true(fifo.exists, "the shell made its fifo")
    with fifo.open("wb"):
        pass


@pytest.mark.parametrize("way", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
async def test_what_a_worker_said_while_no_server_was_there_follows_in_order(
    place: Place, way: signal.Signals
) -> None:
    talker = Chatterer("talker", "text", stderr=True, period_ms=2)
    with place.serving() as served:
        worker = await create(served, *talker.argv(), worker_id="talker")
        async with observing(served, "talker", "earliest") as observer:
            await observer.until_text("talker 50\n")
        served.end(way)
    raw = place.worker_dir("talker") / "stdout.log"
    seen = raw.stat().st_size
    await in_thread(wait_true, lambda: raw.stat().st_size > seen + 2_000, "it says more without a server")
    with last(place) as served:
        assert (await in_thread(Api(served).worker, "talker"))["pid"] == worker["pid"]
        await in_thread(Api(served).say, "talker", "leave now")
        where, heard = Whereabouts(), Heard("talker", "text")
        where.tell(served)
        await follow(where, heard)
        heard.complete()
        assert heard.repeated == ["leave now"]
        assert heard.stdout.encode() == await in_thread(Api(served).log, "talker")
        assert heard.stderr.encode() == await in_thread(Api(served).log, "talker", "stderr")


@pytest.mark.parametrize("way", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
async def test_an_observer_comes_back_with_the_cursor_that_it_had(place: Place, way: signal.Signals) -> None:
    with place.serving() as served:
        await create(served, "cat", worker_id="live")
        ended = (await create(served, *program("lines", "x", 30), worker_id="ended"))["worker_id"]
        before = {"ended": await journal(served, ended)}
        async with observing(served, "live", "earliest") as observer:
            await observer.event()
            for number in range(5):
                await in_thread(Api(served).say, "live", f"line {number}")
            before["live"] = await observer.until_said("line 4\n")
        head = (await in_thread(Api(served).worker, "live"))["head"]
        served.end(way)
    with last(place) as served:
        for worker_id, envelopes in before.items():
            for at, envelope in enumerate(envelopes[:-1]):
                async with observing(served, worker_id, envelope["cursor"], queue_frames=64) as observer:
                    snapshot = await observer.event()
                    assert snapshot["cursor"] == envelope["cursor"]
                    assert [await observer.event() for _ in envelopes[at + 1 :]] == envelopes[at + 1 :]
        async with observing(served, "live", before["live"][-1]["cursor"]) as observer:
            await observer.event()
            said = await in_thread(Api(served).say, "live", "after")
            assert said["event_id"] > head
            assert await observer.until_text("after\n") == "after\n"


async def test_input_that_was_accepted_reaches_the_process_once_whoever_serves(place: Place) -> None:
    accepted = b""
    for life in range(3):
        with place.serving() as served:
            if life == 0:
                await create(served, *program("deaf"), worker_id="deaf")
                async with observing(served, "deaf", "earliest") as observer:
                    await observer.until_text("deaf\n")
            for number in range(5):  # More than a pipe holds, over all three lives.
                content = f"{life} {number} " + "i" * 10_000
                await in_thread(Api(served).say, "deaf", content)
                accepted += content.encode() + b"\n"
            place.kill()
    with last(place) as served:
        worker = await in_thread(Api(served).worker, "deaf")
        assert worker["input_backlog_bytes"] > 0
        await in_thread(Api(served).act, "deaf", "signal", {"signal": "SIGUSR1"})
        await in_thread(Api(served).act, "deaf", "close-stdin")
        ended = await journal(served, "deaf")
        said = text_of(ended).splitlines()
        assert said == ["deaf", f"{len(accepted)} {hashlib.sha256(accepted).hexdigest()}"]
        assert len(data_of(ended, "user_message")) == 15


async def test_an_end_of_input_that_was_acknowledged_stays_one(place: Place) -> None:
    with place.serving() as served:
        await create(served, *program("deaf"), worker_id="deaf")
        async with observing(served, "deaf", "earliest") as observer:
            await observer.until_text("deaf\n")
        content = "z" * 100_000
        for _ in range(2):
            await in_thread(Api(served).say, "deaf", content)
        await in_thread(Api(served).act, "deaf", "close-stdin")
        place.kill()
    with last(place) as served:
        path = "/v1/workers/deaf/input"
        refused = await in_thread(Api(served).request, "POST", path, {"content": "late"})
        assert (refused.status, refused.code) == (400, "invalid_request")
        await in_thread(Api(served).act, "deaf", "signal", {"signal": "SIGUSR1"})
        ended = await journal(served, "deaf")
        digest = hashlib.sha256((content.encode() + b"\n") * 2).hexdigest()
        assert text_of(ended) == f"deaf\n200002 {digest}\n"


async def test_workers_that_ended_meanwhile_have_their_true_ends_and_all_their_output(place: Place) -> None:
    endings = {
        "exit 0": ({"code": 0, "signal": None, "reason": "exited"}, "succeeded"),
        "exit 3": ({"code": 3, "signal": None, "reason": "exited"}, "failed"),
        "kill -9 $$": ({"code": None, "signal": 9, "reason": "signalled"}, "failed"),
    }
    told = "head -c 300000 /dev/zero | tr '\\0' x; echo said >&2; "
    workers: dict[str, Any] = {}
    cursors: dict[str, str | None] = {}
    with place.serving() as served:
        for script in endings:
            worker = await create(served, "sh", "-c", f"echo before; {BLOCKED}{told}{script}")
            async with observing(served, worker["worker_id"], "earliest") as observer:
                await observer.until_text("before\n")
            workers[script], cursors[script] = worker, observer.cursor
        place.kill()
    for worker in workers.values():
        let_go(place, worker["worker_id"])
    for worker in workers.values():
        await in_thread(wait_gone, worker["pid"])
        exit_json = place.worker_dir(worker["worker_id"]) / "exit.json"
        await in_thread(wait_true, exit_json.exists, "its supervisor has told its end")
    all_over = datetime.now(UTC)
    with last(place) as served:
        for script, (ended_as, phase) in endings.items():
            worker_id = workers[script]["worker_id"]
            async with observing(served, worker_id, cursors[script], queue_frames=64) as observer:
                ended = (await observer.until("end"))[1:]
            assert text_of(ended) == "x" * 300_000
            assert "".join(data["text"] for data in data_of(ended, "output")) == "said\n"
            assert data_of(ended, "exit") == [ended_as]
            assert names(ended)[-5:] == ["text_done", "released", "exit", "status", "end"]
            now = await in_thread(Api(served).worker, worker_id)
            assert (now["phase"], now["exit"]) == (phase, ended_as)
            assert datetime.fromisoformat(now["finished_at"]) < all_over
            assert await in_thread(Api(served).log, worker_id) == b"before\n" + b"x" * 300_000
            assert text_of(await journal(served, worker_id)) == "before\n" + "x" * 300_000
        assert (await in_thread(Api(served).get, "/v1/runtime"))["runtime"]["reserved"]["task_slots"] == 0


async def test_a_worker_whose_supervisor_was_killed_meanwhile_is_lost_and_leaves_nothing(
    place: Place,
) -> None:
    with place.serving("--max-running-workers=1") as served:
        worker = await create(served, *program("daemon", "stay"), worker_id="w")
        async with observing(served, "w", "earliest") as observer:
            daemon = int(await observer.until_text("\n"))
        supervisor = parent(worker["pid"])
        place.kill()
    os.kill(supervisor, signal.SIGKILL)
    await in_thread(wait_gone, supervisor)
    with last(place, "--max-running-workers=1") as served:
        ended = await journal(served, "w")
        assert data_of(ended, "exit") == [{"code": None, "signal": None, "reason": "lost"}]
        assert names(ended)[-3:] == ["exit", "status", "end"]
        assert text_of(ended) == f"{daemon}\n"
        assert place.processes() == set()
        assert (await in_thread(Api(served).worker, "w"))["phase"] == "lost"
        assert (await create(served, "cat"))["phase"] == "running"


@pytest.mark.parametrize("who", ["the next server", pytest.param("nobody", marks=pytest.mark.soak)])
async def test_a_stop_that_was_asked_for_is_completed(place: Place, who: str) -> None:
    with place.serving("--grace-ms=1500") as served:
        worker = await create(served, *program("stubborn"), worker_id="w")
        async with observing(served, "w", "earliest") as observer, trio.open_nursery() as nursery:
            await observer.until_text("ready\n")
            nursery.start_soon(asked_of_the_dying, served, "w", "stop")
            await observer.until_true(lambda event: event["payload"]["data"].get("phase") == "stopping")
            place.kill()
    if who == "nobody":
        await in_thread(wait_gone, worker["pid"])
    with last(place) as served:
        ended = await journal(served, "w")
        assert data_of(ended, "exit")[0]["reason"] == "stopped"
        assert data_of(ended, "exit")[0]["signal"] == signal.SIGKILL
        phases = [data["phase"] for data in data_of(ended, "status")]
        assert phases.index("stopping") > phases.index("running")
        assert set(phases[phases.index("stopping") :]) == {"stopping", "stopped"}
        now = await in_thread(Api(served).worker, "w")
        assert (now["status"], now["phase"]) == ("stopped", "stopped")


async def asked_of_the_dying(served: Served, worker_id: str, what: str) -> None:
    """Ask, and get no answer when the server dies first, as it does within the grace of any quick machine."""
    with suppress(ConnectionError, http.client.HTTPException):
        await in_thread(Api(served).act, worker_id, what)


async def test_a_cancelled_worker_stays_cancelled(place: Place) -> None:
    with place.serving() as served:
        await create(served, *program("stubborn"), worker_id="w")
        ack = await in_thread(Api(served).act, "w", "cancel")
        place.kill()
        before = ack["event_id"]
    with last(place) as served:
        now = await in_thread(Api(served).worker, "w")
        assert (now["status"], now["phase"], now["exit"]["reason"]) == ("cancelled",) * 3
        again = await in_thread(Api(served).act, "w", "cancel")
        assert (again["status"], again["event_id"]) == ("cancelled", before)
        assert data_of(await journal(served, "w"), "exit")[0]["reason"] == "cancelled"


async def test_a_wall_time_holds_while_nobody_serves(place: Place) -> None:
    with place.serving() as served:
        worker = await create(
            served, *program("daemon", "stay"), worker_id="w", limits={"wall_time_ms": 1_500}
        )
        place.kill()
    await in_thread(wait_gone, worker["pid"])
    await in_thread(wait_true, lambda: not place.processes(), "its daemon ends with it")
    with last(place) as served:
        assert data_of(await journal(served, "w"), "exit")[0]["reason"] == "timeout"


async def test_slots_after_a_restart_are_those_of_the_workers_that_live(place: Place) -> None:
    with place.serving() as served:
        ids = [(await create(served, "cat", worker_id=f"w{number}"))["worker_id"] for number in range(3)]
        gone = await create(served, "sh", "-c", f"{BLOCKED}exit 0", worker_id="gone")
        place.kill()
    let_go(place, "gone")
    await in_thread(wait_gone, gone["pid"])
    with last(place, "--max-running-workers=1") as served:
        api = Api(served)
        await journal(served, "gone")
        runtime = (await in_thread(api.get, "/v1/runtime"))["runtime"]
        assert (runtime["reserved"]["task_slots"], runtime["capacity"]["task_slots"]) == (3, 1)
        assert runtime["active_worker_count"] == 3
        assert (await create(served, "cat", worker_id="new"))["phase"] == "accepted"
        for worker_id in ids[:2]:
            await in_thread(api.act, worker_id, "stop")
            assert (await in_thread(api.worker, "new"))["phase"] == "accepted"
        async with observing(served, "new", "earliest") as observer:
            await in_thread(api.act, ids[2], "stop")
            await observer.until_true(lambda event: event["payload"]["data"].get("phase") == "running")
        runtime = (await in_thread(api.get, "/v1/runtime"))["runtime"]
        assert runtime["reserved"]["task_slots"] == 1


async def test_a_worker_that_waited_for_a_slot_is_started_later_with_its_input(place: Place) -> None:
    with place.serving("--max-running-workers=1") as served:
        await create(served, "cat", worker_id="first")
        waiting = await create(served, "cat", worker_id="second", initial_input={"content": "one"})
        await create(served, "cat", worker_id="third", initial_input={"content": "three"})
        assert waiting["phase"] == "accepted"
        await in_thread(Api(served).say, "second", "two")
        place.kill()
    with last(place, "--max-running-workers=1") as served:
        api = Api(served)
        assert [(await in_thread(api.worker, name))["phase"] for name in ("first", "second", "third")] == [
            "running",
            "accepted",
            "accepted",
        ]
        await in_thread(api.say, "second", "three")
        async with observing(served, "second", "earliest") as observer:
            await in_thread(api.act, "first", "stop")
            assert await observer.until_text("three\n") == "one\ntwo\nthree\n"
        assert (await in_thread(api.worker, "third"))["phase"] == "accepted"
        explained = await in_thread(api.get, "/v1/workers/third/explain")
        assert explained["explanation"]["waiting_for"]["before_it"] == 0


async def test_a_server_that_is_killed_while_it_starts_workers_leaves_each_running_or_not_at_all(
    place: Place,
) -> None:
    asked = [f"w{number}" for number in range(30)]
    answered: list[str] = []

    async def ask(served: Served, worker_id: str) -> None:
        try:
            answer = await in_thread(
                Api(served).request,
                "POST",
                "/v1/workers",
                {"worker_id": worker_id, "execution": {"program": "cat"}},
            )
        except (OSError, http.client.HTTPException):  # Killed before, or in the middle of, its answer.
            return
        assert answer.status == 200
        answered.append(worker_id)
        if len(answered) == 8:
            served.kill()

    with place.serving() as served:
        async with trio.open_nursery() as nursery:
            for worker_id in asked:
                nursery.start_soon(ask, served, worker_id)
    with last(place) as served:
        there = {
            worker["worker_id"]: worker
            for worker in (await in_thread(Api(served).get, "/v1/workers"))["workers"]
        }
        assert set(answered) <= set(there)
        for worker_id, worker in there.items():
            if worker["status"] == "running":
                await in_thread(Api(served).say, worker_id, "hello")
                async with observing(served, worker_id, "earliest") as observer:
                    assert await observer.until_text("hello\n") == "hello\n"
            assert len(place.processes(worker_id)) == (worker["status"] == "running"), worker
        known = set().union(*(place.processes(worker_id) for worker_id in there))
        assert place.processes() == known
