"""A server that dies or stops under many observers: each goes on by its way, or is told that it cannot."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.chatter import Heard
from support.following import CUT, AllReading, Diagnosed, Reading
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.programs import program
from support.routes import ROUTES, events_of, give_token
from support.serving import Place, Served, durable_server, serving

pytestmark = pytest.mark.asyncio

FLAGS = ("--allow-host=127.0.0.1", "--max-observers=1000")
WORKERS = ("v", "w")
PERIOD_MS = 20
TOLD = ROUTES.keys() - {"long poll", "long poll of everybody"}
"""Those that a server which stops says goodbye to; a long poll is answered, and its next one finds nobody."""


class Watcher:
    """One observer, who comes back by itself."""

    def __init__(self, route: str, worker_id: str) -> None:
        self.route = route
        self.reading = ROUTES[route].reading(worker_id)
        if isinstance(self.reading, AllReading):
            self.reading.is_last = lambda envelope: bool(envelope["worker_id"] == "the-last")
        self.farewells = 0
        self.cuts = 0

    async def watch(self, whereabouts: Whereabouts) -> None:
        """To the end of what it watches."""
        while not self.reading.ended:
            url = await whereabouts.here()
            try:
                await ROUTES[self.route].read(url, self.reading)
            except CUT:
                self.cuts += 1
            except Diagnosed as told:
                if told.code != "upstream_closed":
                    raise
                self.farewells += 1


class Whereabouts:
    """Where the server is; nowhere between two of its lives."""

    def __init__(self) -> None:
        self._served: Served | None = None
        self._is_here = asyncio.Event()

    def tell(self, served: Served | None) -> None:
        """It serves here now, or nowhere."""
        self._served = served
        if served is None:
            self._is_here.clear()
        else:
            self._is_here.set()

    async def here(self) -> str:
        """Its address, once it serves."""
        async with asyncio.timeout(PATIENCE_S):
            await self._is_here.wait()
        assert self._served is not None
        return self._served.url


async def progress(watchers: list[Watcher], share: float) -> None:
    """Return when so many of them have been told something more than now."""
    before = [len(each.reading.envelopes) for each in watchers]

    def have_moved() -> bool:
        moved = sum(len(each.reading.envelopes) > was for each, was in zip(watchers, before, strict=True))
        return moved >= share * len(watchers)

    await asyncio.to_thread(wait_true, have_moved, "nobody goes on")


def has_ended(api: Api, worker_id: str) -> bool:
    return bool(api.worker(worker_id)["finished_at"])


def without_prev(envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name != "prev"} for each in envelopes]


def ending(place: Place, way: str) -> Callable[[], object]:
    return place.kill if way == "kill" else place.stop


@pytest.mark.parametrize(
    ("way", "durability", "each", "lives"),
    [
        ("kill", "os", 2, 3),
        pytest.param("stop", "os", 2, 2, marks=pytest.mark.soak),
        pytest.param("kill", "os", 25, 6, marks=pytest.mark.soak),
        pytest.param("kill", "fsync", 25, 6, marks=pytest.mark.soak),
        pytest.param("stop", "fsync", 25, 4, marks=pytest.mark.soak),
    ],
)
async def test_every_observer_goes_on_at_the_next_server_and_misses_nothing(
    tmp_path: Path, way: str, durability: str, each: int, lives: int
) -> None:
    give_token(tmp_path)
    watchers = [Watcher(route, WORKERS[n % 2]) for route in ROUTES for n in range(each)]
    whereabouts = Whereabouts()
    flags = (*FLAGS, f"--durability={durability}")
    with durable_server(tmp_path, *flags, runtime_id=f"rt-{way}-{durability}-{each}") as place:
        async with asyncio.TaskGroup() as tasks:
            for life in range(lives):
                with place.serving() as served:
                    api = Api(served)
                    if life == 0:
                        for worker_id in WORKERS:
                            talker = program("chatty", worker_id, PERIOD_MS)
                            await asyncio.to_thread(api.create, *talker, worker_id=worker_id)
                        for watcher in watchers:
                            tasks.create_task(watcher.watch(whereabouts))
                    whereabouts.tell(served)
                    # Some lives are over when all are back, others while most are just coming.
                    await progress(watchers, 1.0 if life % 2 == 0 else 0.1)
                    whereabouts.tell(None)
                    await asyncio.to_thread(ending(place, way))
            with place.serving() as served:
                api = Api(served)
                whereabouts.tell(served)
                for worker_id in WORKERS:
                    await asyncio.to_thread(api.say, worker_id, "leave 0")
                for worker_id in WORKERS:
                    ended = partial(has_ended, api, worker_id)
                    await asyncio.to_thread(wait_true, ended, f"{worker_id} does not leave")
                await asyncio.to_thread(api.create, worker_id="the-last")
                await asyncio.to_thread(
                    wait_true,
                    lambda: all(one.reading.ended for one in watchers),
                    "not all are told",
                )
                whole = {worker_id: await read_whole(served, "long poll", worker_id) for worker_id in WORKERS}
                everything = await read_whole(served, "long poll of everybody", "the-last")
    check_words(whole)
    for watcher in watchers:
        right = everything if ROUTES[watcher.route].of_everybody else whole[watcher.reading.worker_id]
        assert without_prev(watcher.reading.envelopes) == right, watcher.route
        assert watcher.reading.resets == []
    if way == "stop":
        told = Counter(watcher.route for watcher in watchers if watcher.farewells)
        assert {route for route, count in told.items() if count == each} >= TOLD


async def read_whole(served: Served, route: str, worker_id: str) -> list[dict[str, Any]]:
    """All that a worker, or everybody, has said."""
    watcher = Watcher(route, worker_id)
    await ROUTES[route].read(served.url, watcher.reading)
    return without_prev(watcher.reading.envelopes)


def check_words(whole: dict[str, list[dict[str, Any]]]) -> None:
    """No word of the workers is missing in the log itself."""
    for worker_id, envelopes in whole.items():
        heard = Heard(worker_id, "text")
        for envelope in envelopes:
            heard.take(envelope, b"")
        heard.complete()
        assert heard.counted > 0


async def test_whoever_comes_back_to_a_memory_store_that_died_is_told_that_its_place_is_gone(
    tmp_path: Path,
) -> None:
    give_token(tmp_path)
    readings = {name: route.reading("w") for name, route in ROUTES.items()}
    with serving(tmp_path, *FLAGS) as served:
        await said(served)
        reads = [
            asyncio.create_task(route.read(served.url, readings[name])) for name, route in ROUTES.items()
        ]
        everybody_was_told = partial(_all_have, readings, events=5)
        await asyncio.to_thread(wait_true, everybody_was_told, "who is not told?")
        await asyncio.to_thread(served.kill)
        for outcome in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(outcome, CUT), outcome
    with serving(tmp_path, *FLAGS) as served:
        await said(served)  # A worker of the same name, who is another one.
        for name, route in ROUTES.items():
            with pytest.raises(Diagnosed) as caught:
                await route.read(served.url, readings[name])
            assert caught.value.code == "cursor_unknown_or_expired", name
            assert readings[name].cursor in caught.value.message
            if name != "v1":
                assert caught.value.facts["reason"] == "generation"


async def said(served: Served) -> None:
    """A passive worker that said a few words."""
    api = Api(served)
    words = [{"event": "said", "data": {"number": number}} for number in range(5)]
    await asyncio.to_thread(api.create, worker_id="w")
    await asyncio.to_thread(api.post, "/v1/workers/w/events", {"events": words})


def _all_have(readings: dict[str, Reading], *, events: int) -> bool:
    return all(len(events_of("w", reading)) >= events for reading in readings.values())
