"""A sandboxed worker and its one way out, told in its journal, over the lives of its server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from watchglass.protocol.workers import WorkerInput
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.runtime.lag import NONE
from watchglass.server.metrics import Metrics
from watchglass.server.open_feeds import OpenFeeds
from watchglass.store.filesystem import open_filesystem_store

from support.boxes import TRIES, needs_box
from support.egress import answering, echo, serving
from support.processes import marked
from support.tasks import soon
from support.workers import request_of

pytestmark = [pytest.mark.asyncio, needs_box]

RUNTIME_ID = f"rt-egress-{os.getpid()}"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@asynccontextmanager
async def life(root: Path, *, keep: bool = False) -> AsyncIterator[Runtime]:
    options = RuntimeOptions(runtime_id=RUNTIME_ID, grace_ms=300, keep_workers=keep)
    async with (
        open_filesystem_store(root, RUNTIME_ID) as store,
        open_runtime(options, store) as runtime,
    ):
        yield runtime
    assert keep or not marked(RUNTIME_ID)
    assert not [task for task in asyncio.all_tasks() if "egress" in task.get_name()]


async def create(runtime: Runtime, *allowed: str) -> None:
    sandbox = {"profile": "linux_sandbox", "network": "proxy", "network_allow": list(allowed)}
    execution = {"program": TRIES[0], "args": TRIES[1:]}
    await runtime.create_worker(request_of(worker_id="w", execution=execution, sandbox=sandbox))


async def say(runtime: Runtime, *lines: str) -> None:
    await runtime.send_input("w", WorkerInput(content="\n".join(lines)))


async def heard(runtime: Runtime, lines: int) -> list[str]:
    """The first so many lines that the worker said."""
    text = ""
    async with runtime.observe("w", "earliest") as reader:
        async for record in reader:
            payload = orjson.loads(record.line)["payload"]
            text += payload["data"]["text"] if payload["event"] == "text_delta" else ""
            if text.count("\n") >= lines:
                break
    return text.splitlines()


async def journal(runtime: Runtime) -> list[tuple[str, dict[str, Any]]]:
    """Every event of the ended worker."""
    told = []
    async with runtime.observe("w", "earliest") as reader:
        async for record in reader:
            payload = orjson.loads(record.line)["payload"]
            told.append((payload["event"], payload["data"]))
            if payload["event"] == "end":
                break
    return told


async def test_it_reaches_the_listed_places_and_nothing_else(tmp_path: Path) -> None:
    async with answering(HELLO) as place, serving(echo) as other, life(tmp_path) as runtime:
        await create(runtime, place.place)
        await say(
            runtime,
            f"GET {place.place}",
            f"GET {other.place}",
            f"CONNECT {other.place}",
            "CONNECT metadata.example:80",
            f"direct {place.place}",
            "direct 192.0.2.1:80",
        )
        assert (await soon(heard(runtime, 6))) == [
            "200 hello",
            f"403 watchglass: egress to {other.place}: not_allowed",
            f"403 watchglass: egress to {other.place}: not_allowed",
            "403 watchglass: egress to metadata.example:80: not_allowed",
            "ECONNREFUSED",  # Its own loopback, where nobody listens.
            "ENETUNREACH",
        ]
        await runtime.stop("w")
        told = await soon(journal(runtime))
        denied = [data for name, data in told if name == "egress_denied"]
        assert denied == [
            {"host": "127.0.0.1", "port": other.port, "reason": "not_allowed", "count": 1},
            {"host": "metadata.example", "port": 80, "reason": "not_allowed", "count": 1},
        ]
        names = [name for name, _ in told]
        assert names.index("egress_usage") < names.index("exit")
        usage = told[names.index("egress_usage")][1]
        assert (usage["connections"], usage["denied"]) == (1, 3)
        assert usage["received_bytes"] == len(HELLO)
        assert runtime.gateway.passed._asdict() == usage
        assert (runtime.gateway.open, runtime.gateway.waiting) == (0, 0)
        shown = Metrics(runtime, OpenFeeds()).exposition(NONE)
        assert b"watchglass_egress_connections_total 1.0\n" in shown
        assert b"watchglass_egress_denied_total 3.0\n" in shown


async def test_a_tunnel_carries_what_it_says_both_ways(tmp_path: Path) -> None:
    async with serving(echo) as place, life(tmp_path) as runtime:
        await create(runtime, f"localhost:{place.port}")
        await say(runtime, f"CONNECT localhost:{place.port}")
        assert await soon(heard(runtime, 1)) == ["200 through the tunnel"]
        await runtime.cancel("w")


async def test_the_next_server_goes_on_where_the_last_one_left(tmp_path: Path) -> None:
    async with answering(HELLO) as place:
        async with life(tmp_path, keep=True) as runtime:
            await create(runtime, place.place)
            await say(runtime, f"GET {place.place}")
            assert await soon(heard(runtime, 1)) == ["200 hello"]
        async with life(tmp_path, keep=True) as runtime:
            await say(runtime, f"GET {place.place}", "GET other.example:80")
            said = await soon(heard(runtime, 3))
            assert said[1:] == ["200 hello", "403 watchglass: egress to other.example:80: not_allowed"]
            await runtime.stop("w")
            told = await soon(journal(runtime))
            assert [name for name, _ in told].count("egress_denied") == 1


async def test_a_worker_that_hammers_leaves_few_events(tmp_path: Path) -> None:
    async with life(tmp_path) as runtime:
        await create(runtime)
        await say(runtime, *["CONNECT a.example:443"] * 120)
        await soon(heard(runtime, 120))
        await runtime.stop("w")
        told = [data["count"] for name, data in await soon(journal(runtime)) if name == "egress_denied"]
        assert told == [1, 10, 100]


async def test_the_end_of_a_worker_ends_its_connections(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"tunnel")
        arrived.set()
        with suppress(ConnectionResetError):
            await reader.read()
        ended.set()

    arrived = asyncio.Event()
    async with serving(hold) as place, life(tmp_path) as runtime:
        await create(runtime, place.place)
        await say(runtime, f"CONNECT {place.place}")
        await soon(arrived.wait())
        await runtime.cancel("w")
        await soon(ended.wait())
