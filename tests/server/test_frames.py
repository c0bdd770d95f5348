"""Ready frames in bulk: the same bytes as one by one, and the connection stays a connection."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypercorn.protocol import h11
from hypercorn.protocol.events import Event
from hypercorn.protocol.ws_stream import WSStream

from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.server.config import FeedBounds

from support.inprocess import InProcess, listening
from support.tasks import soon

pytestmark = pytest.mark.asyncio


class _Other(WSStream):
    """What another version might be: what it sends takes a way that we cannot see through."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        send = self.send

        async def detour(event: Event) -> None:
            await send(event)

        self.send = detour


async def passive(server: InProcess) -> None:
    await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))


async def produce(server: InProcess, texts: list[str]) -> None:
    events = [{"event": "text_delta", "data": {"text": text}} for text in texts]
    assert (await server.ask("POST", "/v1/workers/w/events", {"events": events})).status == 200


async def told(server: InProcess, count: int) -> list[str | bytes]:
    """The first frames of the whole log, as text; the snapshot, which has the time in it, is left out."""
    async with server.watch("w", "?cursor=earliest") as feed:
        await feed.recv()
        return [await soon(feed.recv()) for _ in range(count)]


@pytest.mark.parametrize("size", [0, 1, 100, 500, 70_000], ids="{} characters".format)
async def test_frames_of_any_size_are_the_same_either_way(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as server:
        await passive(server)
        await produce(server, [f"{number}{'ä' * size}" for number in range(5)])
        in_bulk = await told(server, 5)
        monkeypatch.setattr(server.connections, "_ready_frames", False)
        assert in_bulk == await told(server, 5)


@pytest.mark.parametrize("ready_frames", [True, False], ids=["in bulk", "one by one"])
async def test_pings_are_answered_and_a_close_is_heard_while_frames_flow(ready_frames: bool) -> None:
    async with listening(bounds=FeedBounds(close_s=1.0, ready_frames=ready_frames)) as server:
        await passive(server)
        async with server.watch("w") as feed:
            await feed.recv()
            for number in range(20):
                await produce(server, [f"{number}.{place}" for place in range(16)])
                pong = await feed.ping()
                frames = [await soon(feed.recv()) for _ in range(16)]
                assert f'"text":"{number}.15"' in str(frames[-1])
                await soon(pong)
        await soon(server.app.feeds.wait_none_open())


async def test_a_hypercorn_that_we_do_not_know_gets_plain_sends_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(h11, "WSStream", _Other)
    async with listening() as server:
        await passive(server)
        await produce(server, ["one", "two"])
        with caplog.at_level(logging.WARNING, "watchglass.server.connections"):
            assert len(await told(server, 2)) == 2
            assert len(await told(server, 2)) == 2
    assert [record.message for record in caplog.records] == [
        "frames are sent one by one: Hypercorn's inside is not the one that we know"
    ]
