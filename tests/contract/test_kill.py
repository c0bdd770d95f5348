"""A server under load that is killed with SIGKILL again and again: nobody misses or repeats a word.

Twenty workers count aloud, each has an observer or more, and a driver that
sends it numbered input. Killed at any instant, started again at once; everybody
comes back by itself. The instants are random; a failure tells their seed.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from support.api import Api
from support.chatter import Chatterer, Heard, acknowledged_in_order, chatterers
from support.feed import in_thread, journal, observing
from support.mortal import Whereabouts, die_often, drive, follow
from support.processes import wait_true
from support.serving import Place, Served, durable_server

pytestmark = pytest.mark.trio

WORKERS = 20
JOURNALS_READ = 8
OBSERVERS = (3, 3, 3)
"""How many the first workers have; the others have one."""
PERIOD_MS = 10
PACE_S = 0.25
RETAINED = 40_000
"""More than any of them says; a segment of its journal takes an eighth."""
LONGEST_S = 600
"""When everything has come to nothing; on two idle cores fifty kills take a tenth of that."""
SEED = "WATCHGLASS_TEST_SEED"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    flags = ("--grace-ms=300", f"--retain-events={RETAINED}")
    with durable_server(tmp_path, *flags, runtime_id="rt-kill") as place:
        yield place


async def test_eight_kills_cost_no_observer_a_word_and_no_caller_an_ack(place: Place) -> None:
    await survive(place, 8)


@pytest.mark.soak
async def test_fifty_kills_cost_no_observer_a_word_and_no_caller_an_ack(place: Place) -> None:
    await survive(place, 50)


async def survive(place: Place, kills: int) -> None:
    """Kill the server so often under load; then everybody must have got everything."""
    seed = int(os.environ.get(SEED, "0")) or Random().randrange(1, 1 << 32)
    try:
        with trio.fail_after(LONGEST_S):
            await Survival(place, Random(seed)).run(kills)
    except BaseException as fault:
        fault.add_note(f"the same instants again: {SEED}={seed}")
        raise


class Survival:
    """Workers, those who watch and drive them, and what all of them know at the end."""

    def __init__(self, place: Place, rng: Random) -> None:
        self.place = place
        self.rng = rng
        self.where = Whereabouts()
        self.talkers = chatterers(WORKERS, period_ms=PERIOD_MS)
        self.created: dict[str, dict[str, Any]] = {}
        self.heard: dict[str, list[Heard]] = {talker.name: [] for talker in self.talkers}

    async def run(self, kills: int) -> None:
        with self.place.serving() as served:
            for talker in self.talkers:
                self.created[talker.name] = await in_thread(create, Api(served), talker)
            self.place.kill()
        with ExitStack() as last_life:
            finished = trio.Event()
            async with trio.open_nursery() as everybody:
                for number, talker in enumerate(self.talkers):
                    for _ in range(OBSERVERS[number] if number < len(OBSERVERS) else 1):
                        everybody.start_soon(self.observe, talker)
                    everybody.start_soon(self.drive, talker, finished)
                await die_often(self.place, self.where, kills, self.rng)
                launch = self.place.launch()
                last_life.callback(launch.leave)
                served = await in_thread(launch.listening)
                await self.same_processes(served)
                self.where.tell(served)
                finished.set()
            await self.journals_agree(served)
            await in_thread(wait_true, lambda: not self.place.processes(), "something of the workers is left")
        assert not self.place.family()
        for talker in self.talkers:
            assert len({heard.digest for heard in self.heard[talker.name]}) == 1
            for heard in self.heard[talker.name]:
                heard.complete()
                acknowledged_in_order(talker, heard)
                assert heard.exit == {"code": 0, "signal": None, "reason": "exited"}

    async def observe(self, talker: Chatterer) -> None:
        """One observer, from the beginning to the end."""
        heard = Heard(talker.name, talker.speech)
        await follow(self.where, heard, self.rng.choice([1, 8, 64]))
        self.heard[talker.name].append(heard)

    async def drive(self, talker: Chatterer, finished: trio.Event) -> None:
        """The one who sends it input."""
        await drive(self.where, talker, finished, Random(self.rng.random()), PACE_S)

    async def same_processes(self, served: Served) -> None:
        """No worker was started again."""
        for name, worker in self.created.items():
            now = await in_thread(Api(served).worker, name)
            assert (now["pid"], now["phase"]) == (worker["pid"], "running"), now

    async def journals_agree(self, served: Served) -> None:
        """All observers of a worker got the same bytes: those of its journal, and what its raw logs hold."""
        api = Api(served)
        for talker in self.rng.sample(self.talkers, JOURNALS_READ):
            whole = Heard(talker.name, talker.speech)
            await follow(self.where, whole)
            for heard in self.heard[talker.name]:
                assert (heard.events, heard.digest) == (whole.events, whole.digest), talker.name
            assert whole.stderr == (await in_thread(api.log, talker.name, "stderr")).decode()
            raw = (await in_thread(api.log, talker.name)).decode()
            assert whole.stdout == (raw if talker.speech == "text" else counted_aloud(raw))
        runtime = (await in_thread(api.get, "/v1/runtime"))["runtime"]
        assert (runtime["reserved"]["task_slots"], runtime["active_worker_count"]) == (0, 0)
        notes = (await in_thread(api.get, "/v1/diagnostics"))["diagnostics"]
        assert [note for note in notes if note["severity"] == "error"] == []


@pytest.mark.soak
@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_every_command_that_was_answered_holds_and_none_is_half_done(
    place: Place, durability: str
) -> None:
    seed = int(os.environ.get(SEED, "0")) or Random().randrange(1, 1 << 32)
    rng = Random(seed)
    fates: list[Fate] = []
    try:
        with trio.fail_after(LONGEST_S):
            with ExitStack() as last_life:
                where, finished = Whereabouts(), trio.Event()
                async with trio.open_nursery() as everybody:
                    for number in range(CLIENTS):
                        clients_rng = Random(rng.random())
                        everybody.start_soon(command, where, f"c{number}", fates, finished, clients_rng)
                    await die_often(place, where, 5, rng, f"--durability={durability}")
                    finished.set()
                    launch = place.launch(f"--durability={durability}")
                    last_life.callback(launch.leave)
                    served = await in_thread(launch.listening)
                    where.tell(served)
                assert len(fates) > CLIENTS
                alive = 0
                for fate in fates:
                    alive += await fate.holds(served)
                runtime = (await in_thread(Api(served).get, "/v1/runtime"))["runtime"]
                assert runtime["reserved"]["task_slots"] == runtime["active_worker_count"] == alive
                assert place.processes() == set().union(*(place.processes(fate.worker_id) for fate in fates))
    except BaseException as fault:
        fault.add_note(f"the same instants again: {SEED}={seed}")
        raise


CLIENTS = 8
ENDS = {"stop": "stopped", "cancel": "cancelled", "close-stdin": "succeeded"}


async def command(
    where: Whereabouts, name: str, fates: list[Fate], finished: trio.Event, rng: Random
) -> None:
    """Create workers, speak to them, end and remove some of them; leave one when an answer does not come."""
    for number in count():
        if finished.is_set():
            return
        fate = Fate(f"{name}.{number}")
        fates.append(fate)
        await fate.unfold(where, rng)


class Fate:
    """What one worker was asked to be, and what of that was answered: True, or None for `who knows`."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.created: bool | None = None
        self.attempted: list[str] = []
        self.acknowledged: list[str] = []
        self.asked: str | None = None
        self.ended: bool | None = None
        self.asked_to_go = False
        self.gone: bool | None = None

    async def unfold(self, where: Whereabouts, rng: Random) -> None:
        """Ask for this and that, until an answer is missing."""
        path = f"/v1/workers/{self.worker_id}"
        served = await where.here()
        cat = {"worker_id": self.worker_id, "execution": {"program": "cat"}}
        self.created = await answered(served, "POST", "/v1/workers", cat)
        if not self.created:
            return
        for number in range(rng.randrange(4)):
            self.attempted.append(f"{self.worker_id} {number}")
            if not await answered(served, "POST", f"{path}/input", {"content": self.attempted[-1]}):
                return
            self.acknowledged.append(self.attempted[-1])
        self.asked = rng.choice([None, *ENDS])
        if self.asked is None:
            return
        self.ended = await answered(served, "POST", f"{path}/{self.asked}")
        if self.ended and self.asked != "close-stdin" and rng.random() < 0.5:
            self.asked_to_go = True
            self.gone = await answered(served, "DELETE", path)

    async def holds(self, served: Served) -> bool:
        """Check it against the worker that there is; whether that is still alive."""
        api = Api(served)
        answer = await in_thread(api.request, "GET", f"/v1/workers/{self.worker_id}")
        if answer.status == 404:
            assert not self.created or self.asked_to_go, self.worker_id
            return False
        assert not self.gone, f"{self.worker_id} was removed"
        worker = answer.json["worker"]
        if self.asked == "close-stdin" and (self.ended or worker["phase"] != "running"):
            await journal(served, self.worker_id)
            worker = await in_thread(api.worker, self.worker_id)
        allowed = {ENDS[self.asked]} if self.asked else set()
        if not self.ended:
            allowed |= {"running", "stopping"} if self.asked else {"running"}
        assert worker["phase"] in allowed, (self.worker_id, self.asked, self.ended, worker)
        is_alive = worker["status"] == "running"
        if is_alive and self.asked is None:
            self.attempted.append("the last word")
            self.acknowledged.append("the last word")
            await in_thread(api.say, self.worker_id, "the last word")
            async with observing(served, self.worker_id, "earliest") as observer:
                await observer.until_text("the last word\n")
        said = (await in_thread(api.log, self.worker_id)).decode().splitlines()
        rest = iter(self.attempted)
        assert all(line in rest for line in said), f"{said} of {self.attempted}"
        if self.asked in {None, "close-stdin"}:  # The others may be killed before they have read it.
            assert [line for line in said if line in self.acknowledged] == self.acknowledged
        return bool(is_alive)


async def answered(served: Served, method: str, path: str, body: object = None) -> bool | None:
    """True when it was done, None when no answer came; a refusal is neither."""
    try:
        answer = await in_thread(Api(served).request, method, path, body)
    except (OSError, http.client.HTTPException):
        return None
    assert answer.status in {200, 204}, answer
    return True


def create(api: Api, talker: Chatterer) -> dict[str, Any]:
    """Start a talker; its name is its id."""
    worker = api.create(*talker.argv(), speech=talker.speech, worker_id=talker.name)
    assert worker["phase"] == "running"
    return dict(worker)


def counted_aloud(raw: str) -> str:
    """The text in the raw output of a talker that speaks jsonl."""
    said = [json.loads(line) for line in raw.splitlines()]
    return "".join(event["data"]["text"] for event in said if event["event"] == "text_delta")
