"""Version 2 on a real server: a stop that is told. What a kill leaves is in `test_killed_servers.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.following import feed_v2, frames_of
from support.inprocess import TOKEN
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
