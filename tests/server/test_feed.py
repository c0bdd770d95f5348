"""The socket side of the feed: how it begins, and every way in which it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from watchglass.protocol.frames import FeedDiagnosticCode
from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import RuntimeOptions
from watchglass.server.feed import CLOSE_CODES, feed_worker_id
from watchglass.store.base import Retention

from support.inprocess import InProcess, frames, listening, next_frame
from support.tasks import soon

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server() -> AsyncIterator[InProcess]:
    async with listening(RuntimeOptions(observers_max=3)) as server:
        await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))
        yield server


async def produce(server: InProcess, *texts: str) -> None:
    events = [{"event": "text_delta", "data": {"text": text}} for text in texts]
    assert (await server.ask("POST", "/v1/workers/w/events", {"events": events})).status == 200


async def closed_observers(server: InProcess) -> None:
    """Wait until the server knows that every observer has left."""
    await soon(server.app.feeds.wait_none_open())


async def test_every_diagnostic_has_a_close_code() -> None:
    assert set(CLOSE_CODES) == set(FeedDiagnosticCode)


@pytest.mark.parametrize(
    ("path", "worker_id"),
    [
        ("/v1/workers/w/events/ws", "w"),
        ("/v1/workers//events/ws", ""),
        ("/v1/workers/a/b/events/ws", None),
        ("/v1/workers/w/events/ws/", None),
        ("/v1/workers/w/events/ws\n", None),
        ("/v1/workers/w", None),
    ],
)
async def test_a_feed_has_one_path(path: str, worker_id: str | None) -> None:
    assert feed_worker_id(path) == worker_id


async def test_a_feed_is_a_snapshot_then_events(server: InProcess) -> None:
    async with server.watch("w") as feed:
        assert (await next_frame(feed))["envelope"]["payload"]["event"] == "snapshot"
        await produce(server, "one", "two")
        texts = [(await next_frame(feed))["envelope"]["payload"]["data"]["text"] for _ in range(2)]
    assert texts == ["one", "two"]
    await closed_observers(server)


async def test_compression_is_never_accepted(server: InProcess) -> None:
    async with server.watch("w") as feed:
        assert feed.protocol.extensions == []


async def test_pings_are_answered(server: InProcess) -> None:
    async with server.watch("w") as feed:
        await soon(await feed.ping())


@pytest.mark.parametrize(
    ("worker_id", "query", "status"),
    [("nobody", "", 404), ("a%20b", "", 400), ("a%2Fb", "", 400), ("w", "?cursor=a&cursor=b", 400)],
)
async def test_what_cannot_be_watched_is_refused_before_the_upgrade(
    server: InProcess, worker_id: str, query: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await server.watch(worker_id, query)
    assert refused.value.response.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer nope"}, 401), ({"Origin": "https://evil.example"}, 403)],
)
async def test_who_may_not_watch_is_refused_before_the_upgrade(
    server: InProcess, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await server.watch("w", headers=headers)
    assert refused.value.response.status_code == status


async def test_one_observer_too_many_is_refused_and_room_comes_back(server: InProcess) -> None:
    async with server.watch("w"), server.watch("w"), server.watch("w"):
        with pytest.raises(InvalidStatus) as refused:
            await server.watch("w")
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"] == "1"
    await closed_observers(server)
    async with server.watch("w") as feed:
        await next_frame(feed)


@pytest.mark.parametrize("cursor", ["nope", "", "wo_0000000000000001", "wo_ffffffffffffffff"])
async def test_a_cursor_that_cannot_be_resumed_is_a_diagnostic_and_a_close(
    server: InProcess, cursor: str
) -> None:
    async with server.watch("w", f"?cursor={cursor}") as feed:
        told = await soon(frames(feed))
        assert [frame["kind"] for frame in told] == ["diagnostic"]
        malformed = not cursor.startswith("wo_")
        code = "runtime.cursor_malformed" if malformed else "runtime.cursor_unknown_or_expired"
        assert told[0]["diagnostic"]["code"] == code
        assert feed.close_code == 1008


@pytest.mark.parametrize("said", ["text", b"bytes", "x" * 100_000])
async def test_an_observer_that_speaks_is_told_and_closed(server: InProcess, said: str | bytes) -> None:
    async with server.watch("w") as feed:
        await feed.send(said)
        last = (await soon(frames(feed)))[-1]
        assert last["diagnostic"]["code"] == "runtime.observation_only"
        assert feed.close_code == 1008


async def test_the_first_piece_of_a_message_is_enough(server: InProcess) -> None:
    async with server.watch("w") as feed:
        pieces = asyncio.create_task(feed.send(endless()))
        last = (await soon(frames(feed)))[-1]
        assert last["diagnostic"]["code"] == "runtime.observation_only"
        with pytest.raises(ConnectionClosed):
            await pieces


async def endless() -> AsyncIterator[str]:
    """A message that never ends."""
    while True:
        yield "x" * 10_000


async def test_an_observer_that_breaks_the_protocol_is_told(server: InProcess) -> None:
    async with server.watch("w") as feed:
        feed.transport.write(b"\x81\x02hi")  # Not masked, as a client's frames must be.
        last = (await soon(frames(feed)))[-1]
        assert last["diagnostic"]["code"] == "runtime.websocket_error"
        assert feed.close_code == 1002


async def test_a_worker_that_is_removed_ends_its_feeds(server: InProcess) -> None:
    async with server.watch("w") as feed:
        await server.ask("POST", "/v1/workers/w/stop")
        await server.ask("DELETE", "/v1/workers/w")
        told = await soon(frames(feed))
        assert [frame.get("envelope", {}).get("payload", {}).get("event") for frame in told][-2:] == [
            "end",
            None,
        ]
        assert told[-1]["diagnostic"]["code"] == "runtime.worker_not_found"


async def test_a_feed_stays_open_after_its_worker_has_ended(server: InProcess) -> None:
    await server.ask("POST", "/v1/workers/w/stop")
    async with server.watch("w", "?cursor=earliest") as feed:
        while (await next_frame(feed))["envelope"]["payload"]["event"] != "end":
            pass
        await soon(await feed.ping())
        assert feed.close_code is None


async def test_observers_see_every_end_and_then_that_the_runtime_stops(server: InProcess) -> None:
    feeds = [await server.watch("w") for _ in range(3)]
    await server.runtime.drain()
    await server.store.close()
    for feed in feeds:
        told = await soon(frames(feed))
        names = [frame["envelope"]["payload"]["event"] for frame in told[:-1]]
        assert names[-1] == "end"
        assert told[-1]["diagnostic"]["code"] == "runtime.upstream_closed"
        assert feed.close_code == 1001
    await closed_observers(server)


async def test_an_observer_that_retention_overtakes_is_told() -> None:
    async with listening(retention=Retention(max_events=10)) as server:
        await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))
        async with server.runtime.observe("w"), server.watch("w", "?cursor=earliest") as feed:
            await produce(server, *(str(number) for number in range(50)))
            told = await soon(frames(feed))
        assert told[-1]["diagnostic"]["code"] == "runtime.cursor_expired"
