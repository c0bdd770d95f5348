"""HTTP/2, over TLS and without: many feeds on one connection, each at its own pace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from watchglass.protocol.feed_v2 import SUBPROTOCOL, CloseCode
from watchglass.server.config import FeedBounds

from support.certificates import self_signed, takes_openssl
from support.http2 import http2
from support.inprocess import BEARER, InProcess
from support.raw_feed import CLOSE, TEXT, frame
from support.tasks import until
from support.watched import produce, stop, watched

pytestmark = pytest.mark.asyncio

STREAM = {**BEARER, "Accept": "text/event-stream"}
EVENTS = "/v1/workers/w/events"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[InProcess]:
    """A server that is known to speak HTTP/2 (RFC 9113, 3.3)."""
    async with watched(bounds=FeedBounds(close_s=1.0, heartbeat_s=0.2, stall_s=1.0)) as server:
        yield server


@pytest.mark.parametrize("chosen", [pytest.param(True, marks=takes_openssl), False], ids=["by TLS", "known"])
async def test_everything_goes_on_one_connection(chosen: bool, tmp_path: Path) -> None:
    async with (
        watched(tls=self_signed(tmp_path).files if chosen else None) as server,
        http2(server) as client,
    ):
        stream = await client.ask(EVENTS, STREAM)
        poll = await client.ask(f"{EVENTS}?cursor=latest&wait_s=20")
        everybody = await client.ask("/v1/events?workers=*", STREAM)
        socket = await client.websocket(f"{EVENTS}/ws", SUBPROTOCOL)
        await client.until(lambda: b'"kind":"hello"' in client.told[socket].content)
        assert client.told[socket].headers["sec-websocket-protocol"] == SUBPROTOCOL
        await until(lambda: server.runtime.summary().observer_count == 4)
        event = {"event": "text_delta", "data": {"text": "to all"}}
        body = orjson.dumps({"events": [event]})
        assert (await client.answer(await client.ask(EVENTS, method="POST", content=body))).status == 200
        for each in (stream, everybody, socket):
            await client.until_told(each, b"to all")
        assert b"to all" in (await client.answer(poll)).content
        await stop(server)
        await client.answer(stream)
        ended = (await client.answer(socket)).content
        assert ended[ended.rindex(b"\x88") + 2 :][:2] == int(CloseCode.ENDED).to_bytes(2)
        assert [client.told[each].status for each in (stream, poll, everybody, socket)] == [200] * 4


async def test_who_leaves_one_stream_leaves_one_feed(server: InProcess) -> None:
    async with http2(server) as client:
        stays, leaves = [await client.ask(EVENTS, STREAM) for _ in range(2)]
        closes = await client.websocket(f"{EVENTS}/ws", SUBPROTOCOL)
        for each in (stays, leaves, closes):
            await client.until_told(each, b"hello")
        client.h2.reset_stream(leaves)
        await client.send(closes, frame(CLOSE, (1000).to_bytes(2)))
        await until(lambda: server.runtime.summary().observer_count == 1)
        await produce(server, "still there")
        await client.until_told(stays, b"still there")


@pytest.mark.parametrize(("version", "kept"), [(None, b"snapshot:"), (SUBPROTOCOL, b'"kind":"sync"')])
async def test_an_observer_that_speaks_is_told_here_too(
    server: InProcess, version: str | None, kept: bytes
) -> None:
    """Nobody looks at its bytes before Hypercorn does, as is done without HTTP/2."""
    async with http2(server) as client:
        socket = await client.websocket(f"{EVENTS}/ws", version)
        await client.until_told(socket, kept)
        await client.send(socket, frame(TEXT, b"{}"))
        await client.until_told(socket, b"runtime.observation_only")


async def test_a_stream_that_is_not_taken_is_ended_alone(server: InProcess) -> None:
    async with (
        http2(server, window=20_000) as client,
        http2(server) as other,
    ):
        client.grants = False
        stuck = [await client.ask(EVENTS, STREAM), await client.websocket(f"{EVENTS}/ws", SUBPROTOCOL)]
        reads = await other.ask(EVENTS, STREAM)
        await until(lambda: server.runtime.summary().observer_count == 3)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(other.until_told(reads, b"the last one"))
            await produce(server, *["x" * 60_000] * 10)
            await client.until(lambda: all(client.told[each].reset is not None for each in stuck))
            await until(lambda: server.runtime.summary().observer_count == 1)
            await produce(server, "the last one")
        assert (await client.answer(await client.ask("/healthz"))).status == 200


async def test_what_comes_of_a_request_that_is_answered_falls_on_nobody(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with http2(server) as client:
        feed = await client.ask(EVENTS, STREAM)
        await client.until_told(feed, b"hello")
        refused = await client.ask("/v1/workers", {}, method="POST", content=b"{", more=True)
        await client.until(lambda: client.told[refused].status == 401)
        await client.until(lambda: client.told[refused].ended)
        await client.send(refused, b"x" * 1000, end=True)
        await produce(server, "goes on")
        await client.until_told(feed, b"goes on")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("path", ["/\xff", "/a b", ""], ids=["no ASCII", "a space", "none"])
async def test_a_request_that_no_client_sends_leaves_no_trace(
    server: InProcess, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with http2(server) as client:
        stream = await client.ask(path)
        await client.until(lambda: client.closed or client.told[stream].ended)
    await until(lambda: len(server.connections) == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "headers",
    [
        {":protocol": "gopher"},
        {":protocol": "websocket", "sec-websocket-protocol": "\xff"},
        {":protocol": "websocket", "sec-websocket-extensions": "\xff"},
        {":protocol": None, ":path": None, ":scheme": None},
    ],
    ids=["another protocol", "a subprotocol", "an extension", "a tunnel"],
)
async def test_a_connect_that_cannot_be_served_ends_its_stream_alone(
    server: InProcess, headers: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    async with http2(server) as client:
        feed = await client.ask(EVENTS, STREAM)
        await client.until_told(feed, b"hello")
        stream = client.h2.get_next_available_stream_id()
        sound = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":path": f"{EVENTS}/ws",
            ":authority": f"127.0.0.1:{server.port}",
            "authorization": BEARER["Authorization"],
            "sec-websocket-version": "13",
        }
        sent = [(name, value) for name, value in {**sound, **headers}.items() if value is not None]
        sent.sort(key=lambda header: not header[0].startswith(":"))
        client.h2.send_headers(stream, [(name, value.encode("latin1")) for name, value in sent])
        await client.flush()
        await client.until(lambda: client.told[stream].ended)
        assert (client.told[stream].reset, client.told[stream].status) == (1, None)
        await produce(server, "goes on")
        await client.until_told(feed, b"goes on")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_requests_that_are_reset_as_they_come_are_not_begun(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with http2(server) as client:
        for _ in range(3000):
            stream = client.h2.get_next_available_stream_id()
            head = [(":method", "GET"), (":scheme", "https"), (":path", "/metrics"), (":authority", "x")]
            client.h2.send_headers(stream, head, end_stream=True)
            client.h2.reset_stream(stream)
        assert (await client.answer(await client.ask("/healthz"))).status == 200
    await until(lambda: len(server.connections) == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_stream_too_many_ends_the_connection_with_a_word(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with http2(server) as client:
        for place in range(999):  # With the root of the tree as many as there may be.
            client.h2.prioritize(3 + 2 * place)
        await client.ask("/healthz")
        await client.until(lambda: client.closed)
        assert client.farewell == 1
    await until(lambda: len(server.connections) == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_frame_that_is_too_long_is_not_waited_for(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with http2(server) as client:
        await client.send_raw((20_000).to_bytes(3) + b"\x00\x00" + (1).to_bytes(4) + b"x" * 100)
        await client.until(lambda: client.closed)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_idle_connection_is_told_that_it_ends() -> None:
    async with AsyncExitStack() as serving:
        server = await serving.enter_async_context(watched())
        async with http2(server) as client:
            await client.answer(await client.ask("/healthz"))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serving.aclose())
                await client.until(lambda: client.closed)
            assert client.farewell == 0


async def test_a_server_that_stops_tells_every_stream() -> None:
    async with watched(bounds=FeedBounds(close_s=3.0)) as server, http2(server) as client:
        feed = await client.websocket(f"{EVENTS}/ws", SUBPROTOCOL)
        stream = await client.ask(EVENTS, STREAM)
        for each in (feed, stream):
            await client.until_told(each, b"hello")
        await server.store.close()
        assert b"\x88" in (await client.answer(feed)).content
        assert b"feed.diagnostic" in (await client.answer(stream)).content
