"""Connections: a peer that takes nothing, a peer that leaves, a stop that is bounded."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from websockets.exceptions import InvalidMessage

from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.server.config import FeedBounds
from watchglass.server.connections import KEEP_ALIVE_S

from support.inprocess import InProcess, listening
from support.tasks import soon, until
from support.upgrading import upgraded

pytestmark = pytest.mark.asyncio

FEED = "/v1/workers/w/events/ws"


async def flood(server: InProcess, megabytes: int) -> None:
    event = {"event": "text_delta", "data": {"text": "x" * 60_000}}
    for _ in range(megabytes):
        answer = await server.ask("POST", "/v1/workers/w/events", {"events": [event] * 17})
        assert answer.status == 200


async def test_an_observer_that_takes_no_byte_is_dropped_and_nobody_else() -> None:
    async with listening(bounds=FeedBounds(stall_s=1.0, close_s=1.0)) as server:
        await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))
        async with server.watch("w") as reading, asyncio.TaskGroup() as tasks:
            stuck = await upgraded(server, FEED)
            await until(lambda: server.runtime.summary().observer_count == 2)

            async def read_on() -> None:
                async for _ in reading:
                    pass

            reads = tasks.create_task(read_on())
            await flood(server, 12)
            await until(lambda: server.runtime.summary().observer_count == 1)
            assert reading.close_code is None
            reads.cancel()
            stuck.close()
        exposed = (await server.ask("GET", "/metrics")).content.decode()
        assert 'watchglass_feeds_closed_total{reason="stalled"} 1.0' in exposed


async def test_an_idle_observer_is_not_a_stalled_one() -> None:
    async with listening(bounds=FeedBounds(stall_s=0.05, close_s=1.0)) as server:
        await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))
        async with server.watch("w") as feed:
            await feed.recv()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await feed.recv()
            assert feed.close_code is None


async def test_a_connection_is_gone_when_its_client_is() -> None:
    async with listening() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: len(server.connections) == 1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: len(server.connections) == 0)


async def test_a_stop_waits_neither_for_idle_clients_nor_for_silent_observers() -> None:
    loop = asyncio.get_running_loop()
    async with listening(bounds=FeedBounds(stall_s=3600.0, close_s=0.2)) as server:
        await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))
        silent = [await upgraded(server, FEED) for _ in range(5)]
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        await until(lambda: server.runtime.summary().observer_count == 5)
        await flood(server, 5)
        began_s = loop.time()
    assert loop.time() - began_s < KEEP_ALIVE_S / 2
    for observer in silent:
        observer.close()
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()


async def test_a_head_that_never_ends_is_no_observer_and_is_closed() -> None:
    async with listening(bounds=FeedBounds(close_s=0.2)) as server:
        await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))
        assert server.connections._config.keep_alive_timeout == KEEP_ALIVE_S
        server.connections._config.keep_alive_timeout = 1.0
        paths = ("/v1/workers/w/events/ws", "/v1/workers/w/events", "/v1/events/ws", "/v1/session/ws")
        async with asyncio.TaskGroup() as tasks:
            ends = [tasks.create_task(_dribbled(server, path)) for path in paths]
            await soon(asyncio.wait(ends))
            assert server.runtime.summary().observer_count == 0
        await until(lambda: len(server.connections) == 0)


async def _dribbled(server: InProcess, path: str) -> None:
    """Ask byte by byte and without an end, until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + "x" * 10_000

    async def dribble() -> None:
        for byte in head:
            writer.write(byte.encode())
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        slowly = tasks.create_task(dribble())
        with suppress(ConnectionResetError):  # So its end is heard by who still sends.
            assert await reader.read() == b""
        slowly.cancel()
    writer.close()
    with suppress(ConnectionResetError):
        await writer.wait_closed()


async def test_the_longest_idle_makes_room_and_nobody_who_was_asked_something() -> None:
    async with listening(bounds=FeedBounds(close_s=0.2)) as server:
        await server.runtime.create_worker(decode(CreateWorkerRequest, '{"worker_id": "w"}'))
        server.connections._room.size = 3
        async with server.watch("w") as feed:
            await feed.recv()
            (first, one), (second, two) = [
                await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)
            ]
            await until(lambda: len(server.connections) == 3)
            assert (await server.ask("GET", "/healthz")).status == 200
            assert await soon(first.read()) == b""
            async with server.watch("w") as next_feed, server.watch("w") as last_feed:
                for each in (next_feed, last_feed):
                    await each.recv()
                assert await soon(second.read()) == b""
                with pytest.raises((ConnectionError, InvalidMessage)):
                    await server.watch("w")
                assert {each.close_code for each in (feed, next_feed, last_feed)} == {None}
        for writer in (one, two):
            writer.close()
            await writer.wait_closed()
