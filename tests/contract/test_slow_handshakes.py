"""Clients that begin to ask and never come to the end: nobody who means it waits for them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.api import Api
from support.following import Reading
from support.processes import rss_bytes, wait_true
from support.raw_feed import SOCKETS, asking
from support.routes import ROUTES, events_of, give_token
from support.serving import Served, serving

pytestmark = pytest.mark.asyncio

FILES_MAX = 256
"""A server that may have so many open is easy to crowd."""
SLOW = 600
MIB = 1 << 20


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    give_token(tmp_path)
    limited = ("prlimit", f"--nofile={FILES_MAX}:{FILES_MAX}")
    with serving(tmp_path, "--allow-host=127.0.0.1", by=limited) as served:
        yield served


@contextmanager
def crowded(served: Served, count: int) -> Iterator[list[socket.socket]]:
    """Half a handshake each, for every kind of socket."""
    with ExitStack() as stack:
        clients: list[socket.socket] = []
        for number in range(count):
            head = asking(served, SOCKETS[number % len(SOCKETS)], "w")
            client = stack.enter_context(socket.create_connection((served.host, served.port)))
            client.sendall(head[: len(head) // 2])
            clients.append(client)
        yield clients


async def test_more_of_them_than_there_is_room_for_keep_nobody_out(served: Served) -> None:
    api = Api(served)
    await asyncio.to_thread(api.create, worker_id="w")
    before = rss_bytes(served.process.pid)
    readings = {name: route.reading("w") for name, route in ROUTES.items()}
    reads = {
        name: asyncio.create_task(route.read(served.url, readings[name])) for name, route in ROUTES.items()
    }
    await said(api, readings, 1)
    with crowded(served, SLOW):
        # Those who are there hear on, who comes is served, and there is room for a process and its files.
        await said(api, readings, 2)
        worker = await asyncio.to_thread(api.create, "cat", worker_id="busy")
        assert worker["phase"] == "running"
        late = {name: route.reading("w") for name, route in ROUTES.items()}
        joins = [asyncio.create_task(route.read(served.url, late[name])) for name, route in ROUTES.items()]
        await said(api, late, 3)
        assert rss_bytes(served.process.pid) - before < 24 * MIB
        await asyncio.to_thread(api.act, "w", "stop")
        await asyncio.gather(*reads.values(), *joins)
    for reading in (*readings.values(), *late.values()):
        assert events_of("w", reading) == events_of("w", readings["v1"])
    assert '"level":"error"' not in served.stderr


async def said(api: Api, readings: dict[str, Reading], number: int) -> None:
    """One more word, that all of them have heard."""
    words = {"events": [{"event": "said", "data": {"number": number}}]}
    await asyncio.to_thread(api.post, "/v1/workers/w/events", words)

    def all_have() -> bool:
        return all(events_of("w", each)[-1:] and _number(each) == number for each in readings.values())

    await asyncio.to_thread(wait_true, all_have, "somebody was not told")


def _number(reading: Reading) -> object:
    return events_of("w", reading)[-1]["payload"]["data"].get("number")
