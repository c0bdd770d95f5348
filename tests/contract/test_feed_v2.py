"""Version 2 and its other transports on a real server: exact resume over `kill -9`, a stop that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.following import CUT, TRANSPORTS, Reading, feed_v2, follow, frames_of
from support.inprocess import TOKEN
from support.processes import wait_true
from support.programs import program
from support.serving import Place, durable_server
from support.tasks import soon

pytestmark = pytest.mark.asyncio


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    flags = ("--allow-host=127.0.0.1", "--durability=os")
    with durable_server(tmp_path, *flags, runtime_id="rt-feed-v2") as place:
        yield place


async def test_a_reader_of_any_transport_goes_on_over_a_killed_server(place: Place) -> None:
    readings = {transport: Reading("w") for transport in TRANSPORTS}
    with place.serving() as served:
        api = Api(served)
        await asyncio.to_thread(
            api.create, *program("events", "n", 600, "wait"), speech="jsonl", worker_id="w"
        )
        reads = [
            asyncio.create_task(follow(transport, served.url, reading, retry=False))
            for transport, reading in readings.items()
        ]
        await asyncio.to_thread(api.say, "w", "go")
        await asyncio.to_thread(
            wait_true, lambda: int(api.worker("w")["transcript_len"]) > 0, "nothing is said"
        )
        place.kill()
        for outcome in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(outcome, (Reading, *CUT)), outcome
    with place.serving() as served:
        for transport, reading in readings.items():
            await soon(follow(transport, served.url, reading, retry=False))
        whole = await soon(follow("websocket", served.url, Reading("w"), retry=False))
    events = [{**each, "prev": None} for each in whole.envelopes]
    for transport, reading in readings.items():
        assert [{**each, "prev": None} for each in reading.envelopes] == events, transport
    said = "".join(
        each["payload"]["data"].get("text", "") for each in events if "delta" in each["payload"]["event"]
    )
    assert said == "".join(f"n {number}\n" for number in range(600))


@pytest.mark.soak
async def test_a_server_that_stops_and_keeps_its_workers_says_where_and_when_to_come_back(
    place: Place,
) -> None:
    with place.serving() as served:
        await asyncio.to_thread(Api(served).create, "cat", worker_id="w")
        async with feed_v2(served.url, "w", "?cursor=latest&snapshot=none") as feed:
            frames = frames_of(feed)
            while (await soon(anext(frames)))["kind"] != "sync":
                pass
            stopping = asyncio.create_task(asyncio.to_thread(place.stop))
            told = [frame async for frame in frames]
            assert [frame["kind"] for frame in told][-2:] == ["bookmark", "diagnostic"]
            assert told[-1]["code"] == "runtime.upstream_closed"
            assert feed.close_code == 1012
            assert await stopping == 0
    with place.serving() as served:
        async with feed_v2(served.url, "w", f"?cursor={told[-2]['cursor']}") as feed:
            hello = await soon(anext(frames_of(feed)))
            assert hello["resumed_from"] == told[-2]["cursor"]
