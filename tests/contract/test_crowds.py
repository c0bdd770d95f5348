"""Crowds of observers: those who take nothing cost a bounded amount and nobody else, and a stop tells all."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from watchglass.server.connections import KEEP_ALIVE_S

from support.api import Api
from support.crowd import Spectator, connected, cursors_of, digest_of
from support.patience import PATIENCE_S
from support.processes import rss_bytes, wait_true
from support.raw_feed import SMALL_BYTES, asking
from support.serving import Served, durable_server, serving
from support.tasks import soon

pytestmark = pytest.mark.asyncio

KIB, MIB = 1 << 10, 1 << 20
HELD_MIB = 1
"""What a connection may hold of what it has not sent (docs/architecture.md)."""
CONNECTION_KIB = 96
"""What a connection may cost beside that: Hypercorn, three tasks, a stream's buffer."""
SERVER_MIB = 16
"""What the server needs once for the first of many: snapshots of a long text, an allocator's arenas."""
WAYS = {"ready frames": [], "plain sends": ["--no-ready-frames"]}
LIVE = ("v2", "v1", "sse")


def observer_count(api: Api) -> int:
    return int(api.get("/v1/runtime")["runtime"]["observer_count"])


async def say(served: Served, halves: int) -> None:
    """Append so many half mebibytes to the passive worker `w`."""
    said = [{"event": "text_delta", "data": {"text": "x" * (16 * KIB)}}] * 32
    for _ in range(halves):
        await asyncio.to_thread(Api(served).post, "/v1/workers/w/events", {"events": said})


@pytest.mark.parametrize(
    ("way", "readers", "stuck", "mebibytes", "stall_s"),
    [
        ("ready frames", 30, 6, 2, 10),
        pytest.param("plain sends", 30, 6, 2, 10, marks=pytest.mark.soak),
        pytest.param("ready frames", 900, 100, 1, 60, marks=pytest.mark.soak),
    ],
)
async def test_those_who_never_read_hold_up_nobody_cost_a_bounded_amount_and_are_closed(
    tmp_path: Path, way: str, readers: int, stuck: int, mebibytes: int, stall_s: int
) -> None:
    flags = [f"--stall-s={stall_s}", "--max-observers=2000", *WAYS[way]]
    with serving(tmp_path, *flags, afresh=True) as served:
        api = Api(served)
        await asyncio.to_thread(api.create, worker_id="w")
        await asyncio.to_thread(api.get, "/v1/runtime")
        before = rss_bytes(served.process.pid)
        silent = [await connected(served, receive_bytes=SMALL_BYTES) for _ in range(stuck)]
        for number, (_, writer) in enumerate(silent):
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # Of a socket's transport.
            writer.write(asking(served, LIVE[number % 3], "w", "?cursor=earliest"))
        crowd = [Spectator(LIVE[number % 3]) for number in range(readers)]
        watching = [asyncio.create_task(each.watch(served, "w")) for each in crowd]
        await asyncio.to_thread(wait_true, lambda: observer_count(api) == readers + stuck, "all have joined")
        await say(served, 2 * mebibytes)
        cursors = await cursors_of(served, "w")
        await asyncio.gather(*(each.wait_events(len(cursors)) for each in crowd))
        # The others have everything while the silent ones are still there.
        assert await asyncio.to_thread(observer_count, api) == readers + stuck
        cost = rss_bytes(served.process.pid) - before
        bound = (
            (SERVER_MIB + mebibytes) * MIB + stuck * HELD_MIB * MIB + (readers + stuck) * CONNECTION_KIB * KIB
        )
        assert cost < bound, f"{cost >> 10} KiB for {readers + stuck}"
        assert {each.digest for each in crowd} == {digest_of(cursors)}
        await asyncio.to_thread(
            wait_true,
            lambda: observer_count(api) == readers,
            "the silent ones are not closed",
            PATIENCE_S + 2 * stall_s,
        )
        exposed = (await asyncio.to_thread(api.request, "GET", "/metrics")).body.decode()
        told = re.findall(
            r'watchglass_feeds_closed_total\{reason="(?:runtime\.)?stalled"\} ([0-9.]+)', exposed
        )
        assert sum(map(float, told)) == stuck
        await asyncio.to_thread(api.act, "w", "stop")
        await asyncio.gather(*watching)
        assert {each.digest for each in crowd} == {digest_of(await cursors_of(served, "w"))}
        for _, writer in silent:
            writer.transport.abort()


@pytest.mark.parametrize(
    ("way", "observers"),
    [
        ("ready frames", 30),
        pytest.param("plain sends", 30, marks=pytest.mark.soak),
        pytest.param("ready frames", 1000, marks=pytest.mark.soak),
    ],
)
async def test_a_server_that_stops_tells_all_and_each_goes_on_exactly_at_the_next_one(
    tmp_path: Path, way: str, observers: int
) -> None:
    flags = ["--durability=os", "--max-observers=2000", *WAYS[way]]
    transports = ("v2", "v2", "v1", "sse", "long_poll")
    with durable_server(tmp_path, *flags, runtime_id=f"rt-crowd-{observers}") as place:
        crowd = [Spectator(transports[number % 5]) for number in range(observers)]
        with place.serving() as served:
            api = Api(served)
            await asyncio.to_thread(api.create, worker_id="w")
            await say(served, 1)
            count = len(await cursors_of(served, "w"))
            watching = [asyncio.create_task(each.watch(served, "w")) for each in crowd]
            await asyncio.gather(*(each.wait_events(count) for each in crowd))
            await asyncio.to_thread(place.stop)
            await soon(asyncio.gather(*watching))
        told = {name: [each.tail for each in crowd if each.transport == name] for name in transports}
        for tail in told["v2"]:
            assert re.search(
                rb'"bookmark".*"runtime\.upstream_closed".*"retry_after_ms":\d+.*\x03\xf4', tail, re.S
            )
        for tail in told["v1"]:
            assert b'"runtime.upstream_closed"' in tail
            assert tail.endswith(b"\x88\x02\x03\xe9")
        for tail in told["sse"]:
            assert re.search(rb"retry: \d+\n.*upstream_closed.*\r\n0\r\n\r\n\Z", tail, re.S)
        waits = {re.search(rb'"retry_after_ms":(\d+)', tail)[1] for tail in told["v2"]}  # type: ignore[index]
        assert len(waits) > len(told["v2"]) // 4, "they would all come back at once"
        with place.serving() as served:
            await say(served, 1)
            await asyncio.to_thread(Api(served).act, "w", "stop")
            await soon(asyncio.gather(*(each.watch(served, "w") for each in crowd)))
            assert {each.digest for each in crowd} == {digest_of(await cursors_of(served, "w"))}


@pytest.mark.parametrize(
    ("way", "joins"),
    [
        ("ready frames", 400),
        ("plain sends", 400),
        pytest.param(
            "ready frames", int(os.environ.get("WATCHGLASS_JOINS", "5000")), marks=pytest.mark.soak, id="many"
        ),
    ],
)
async def test_short_joins_one_after_the_other_are_exact_and_leave_nothing(
    tmp_path: Path, way: str, joins: int
) -> None:
    with serving(tmp_path, "--stall-s=5", *WAYS[way], afresh=True) as served:
        api = Api(served)
        await asyncio.to_thread(api.create, worker_id="w")
        said = [{"event": "text_delta", "data": {"text": str(number)}} for number in range(40)]
        await asyncio.to_thread(api.post, "/v1/workers/w/events", {"events": said})
        await asyncio.to_thread(api.act, "w", "stop")
        cursors = await cursors_of(served, "w")

        async def come_back(count: int) -> None:
            for number in range(count):
                place = number % len(cursors)
                spectator = Spectator(("v2", "v1", "sse", "long_poll")[number % 4], cursors[place])
                if place + 1 < len(cursors):
                    await soon(spectator.watch(served, "w"))
                    assert spectator.digest == digest_of(cursors[place + 1 :])

        async def all_come_back(count: int) -> None:
            await asyncio.gather(*(come_back(count // 20) for _ in range(20)))
            await asyncio.to_thread(wait_true, lambda: observer_count(api) == 0, "observers are remembered")

        await all_come_back(max(200, joins // 10))
        before = rss_bytes(served.process.pid), _descriptors(served)
        await all_come_back(joins)
        await asyncio.to_thread(
            wait_true,
            lambda: _descriptors(served) <= before[1] + 2,
            "connections are left",
            KEEP_ALIVE_S - 10,
        )
        assert rss_bytes(served.process.pid) - before[0] < 4 * MIB


def _descriptors(served: Served) -> int:
    return len(os.listdir(f"/proc/{served.process.pid}/fd"))  # noqa: PTH208 - a list, not a tree.
