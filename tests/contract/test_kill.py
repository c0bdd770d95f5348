"""A server under load that is killed with SIGKILL again and again: nobody misses or repeats a word.

Twenty workers count aloud, each has an observer or more, and a driver that
sends it numbered input. Killed at any instant, started again at once; everybody
comes back by itself. The instants are random; a failure tells their seed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from support.api import Api
from support.chatter import Chatterer, Heard, acknowledged_in_order, chatterers
from support.feed import in_thread
from support.mortal import Whereabouts, die_often, drive, follow
from support.processes import wait_true
from support.serving import Place, Served, durable_server

pytestmark = pytest.mark.trio

WORKERS = 20
OBSERVERS = (3, 3, 3)
"""How many the first workers have; the others have one."""
PERIOD_MS = 10
PACE_S = 0.25
LONGEST_S = 600
"""When everything has come to nothing; on two idle cores fifty kills take a tenth of that."""
SEED = "WATCHGLASS_TEST_SEED"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with durable_server(tmp_path, "--grace-ms=300", runtime_id="rt-kill") as place:
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
        for talker in self.talkers:
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


def create(api: Api, talker: Chatterer) -> dict[str, Any]:
    """Start a talker; its name is its id."""
    worker = api.create(*talker.argv(), speech=talker.speech, worker_id=talker.name)
    assert worker["phase"] == "running"
    return dict(worker)


def counted_aloud(raw: str) -> str:
    """The text in the raw output of a talker that speaks jsonl."""
    said = [json.loads(line) for line in raw.splitlines()]
    return "".join(event["data"]["text"] for event in said if event["event"] == "text_delta")
