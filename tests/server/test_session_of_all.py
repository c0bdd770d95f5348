"""Everybody's feed as a subscription of a session: the same as over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from watchglass.protocol.feed_v2 import SUBPROTOCOL
from watchglass.store.base import Retention

from support.inprocess import BEARER, InProcess
from support.patience import PATIENT_SOCKET
from support.peers import Peer, names, peer
from support.tasks import soon
from support.watched import BOUNDS, create, produce, url, watched

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]


@pytest_asyncio.fixture(params=[True, False], ids=["ready frames", "plain sends"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    """A server that sends either way, with two workers."""
    async with watched(bounds=replace(BOUNDS, ready_frames=request.param)) as server:
        await create(server, "v")
        yield server


@pytest_asyncio.fixture
async def backend(server: InProcess) -> AsyncIterator[Peer]:
    async with peer(url(server)) as backend:
        yield backend


async def of_its_own(server: InProcess, query: str) -> list[Json]:
    """The frames of a connection of its own, up to `sync`."""
    told: list[Json] = []
    async with connect(
        f"{url(server).replace('http', 'ws', 1)}/v1/events/ws?{query}",
        additional_headers=BEARER,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        proxy=None,
        **PATIENT_SOCKET,
    ) as socket:
        while not told or told[-1]["kind"] != "sync":
            told.append(orjson.loads(await soon(socket.recv())))
    return told


def unnamed(frames: list[Json], name: str) -> list[Json]:
    """As a connection of its own would say them. Counts of observers are as of another moment."""
    assert {frame.pop("subscription") for frame in frames} == {name}
    return steady(frames)


def steady(frames: list[Json]) -> list[Json]:
    for frame in frames:
        frame.get("runtime", {}).pop("observer_count", None)
    return frames


@pytest.mark.parametrize(
    ("workers", "query"), [("*", "workers=*"), (["v", "w"], "workers=w,v"), ("w", "workers=w"), ([], "")]
)
async def test_it_tells_what_a_connection_of_its_own_does(
    server: InProcess, backend: Peer, workers: object, query: str
) -> None:
    await produce(server, *"abc")
    await backend.say(kind="subscribe", id="all", workers=workers, cursor="earliest")
    assert (await backend.answer("all"))["result"] == {"subscription": "all"}
    told = await backend.until("sync", "all")
    assert unnamed(told, "all") == steady(await of_its_own(server, f"cursor=earliest&{query}"))


async def test_it_stands_beside_those_of_single_workers_and_goes_on_where_it_was(
    server: InProcess, backend: Peer
) -> None:
    await backend.say(kind="subscribe", id="all", workers="*", types=["text_delta"], snapshot="none")
    await backend.say(kind="subscribe", id="one", worker_id="w", types=["text_delta"], snapshot="none")
    await backend.until("sync", "one")
    await produce(server, "both")
    assert names(await backend.until("events", "one")) == ["both"]
    while "both" not in names([f for f in backend.told if f.get("subscription") == "all"]):
        await backend.frame()
    await backend.say(kind="unsubscribe", id=1, subscription="all")
    cursor = (await backend.answer(1))["result"]["cursor"]
    await create(server, "late")
    await backend.ask(
        "workers.append_events", worker_id="late", events=[{"event": "text_delta", "data": {"text": "new"}}]
    )
    again = {"kind": "subscribe", "id": "again", "workers": "*", "types": ["text_delta"]}
    await backend.say(**again, cursor=cursor)
    events = [frame for frame in await backend.until("events", "again") if frame["kind"] == "events"]
    assert names(events) == ["new"]
    assert events[0]["envelopes"][0]["worker_id"] == "late"


async def test_it_is_an_observer_of_all_and_a_pong_says_where_it_stands(
    server: InProcess, backend: Peer
) -> None:
    await backend.say(kind="subscribe", id="all", workers="*", snapshot="none")
    synced = (await backend.until("sync", "all"))[-1]
    [observer] = (await backend.ask("runtime.observers"))["result"]["observers"]
    assert (observer["worker_id"], observer["transport"]) == (None, "session")
    assert (observer["cursor"], observer["lag_events"]) == (synced["cursor"], 0)
    await backend.say(kind="ping")
    while (pong := await backend.frame())["kind"] != "pong":
        pass
    assert pong["cursors"] == {"all": synced["cursor"]}


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"workers": "*", "worker_id": "w"}, 400, "invalid_request"),
        ({"workers": 5}, 400, "invalid_query"),
        ({"workers": ["w", 5]}, 400, "invalid_query"),
        ({"workers": [f"w{number}" for number in range(257)]}, 400, "invalid_query"),
        ({"workers": ["a b"]}, 400, "invalid_worker_id"),
        ({"workers": ["nobody"]}, 404, "worker_not_found"),
        ({"workers": "*", "cursor": "x"}, 400, "cursor_malformed"),
        ({"workers": "*", "types": 5}, 400, "invalid_query"),
        ({"workers": "*", "cursor": "wo_00ffffffffffffff"}, 410, "cursor_unknown_or_expired"),
    ],
)
async def test_what_cannot_be_told_is_refused_as_over_http(
    backend: Peer, said: Json, status: int, code: str
) -> None:
    await backend.say(kind="subscribe", id="a", **said)
    refused = await backend.answer("a")
    assert (refused["status"], refused["error"]["code"]) == (status, code)
    if status == 410:
        assert (refused["reason"], refused["requested"]) == ("ahead", said["cursor"])


async def test_what_retention_took_of_one_of_them_is_a_reset_where_that_is_asked_for() -> None:
    async with watched(retention=Retention(max_events=50)) as server:
        first = (await produce(server, "first"))["first"]
        for number in range(200):
            await produce(server, f"{number}")
        async with peer(url(server)) as backend:
            await backend.say(kind="subscribe", id=1, workers="*", cursor=first)
            refused = await backend.answer(1)
            assert (refused["status"], refused["reason"], refused["worker_id"]) == (410, "retention", "w")
            await backend.say(kind="subscribe", id=2, workers="*", cursor=first, on_expired="snapshot")
            told = await backend.until("sync", 2)
            assert [frame["kind"] for frame in told] == ["hello", "reset", "snapshot", "sync"]
            assert told[1]["reason"] == "retention"


async def test_a_server_that_leaves_tells_it_when_to_come_back(server: InProcess, backend: Peer) -> None:
    await backend.say(kind="subscribe", id="all", workers="*")
    await backend.until("sync", "all")
    await server.store.close()
    leaving = asyncio.create_task(server.app.sessions.leave())
    _, code, _ = await backend.last_words()
    await soon(leaving)
    mine = [frame for frame in backend.told if frame.get("subscription") == "all"]
    assert code == 1012
    assert [frame["kind"] for frame in mine[-2:]] == ["bookmark", "diagnostic"]
    assert (mine[-1]["code"], mine[-1]["close"]) == ("runtime.upstream_closed", 1012)
