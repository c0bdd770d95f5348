"""Sessions and feeds of everybody that come and go by the hundred leave nothing behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from watchglass.server.connections import KEEP_ALIVE_S

from support.api import Api
from support.processes import rss_bytes, wait_true
from support.routes import ROUTES, events_of, give_token
from support.serving import Served, serving

pytestmark = [pytest.mark.asyncio, pytest.mark.soak]

AT_ONCE = 10
WARM, JOINS = 500, 1000
MIB = 1 << 20
NAMES = [name for name, route in ROUTES.items() if route.of_everybody or name == "session"]
"""The others come and go by the thousand in `test_crowds.py`."""


async def come_and_go(served: Served, joins: int) -> None:
    """So many connections, one after the other at a few places, each to the end of what is told."""

    async def some(count: int) -> None:
        for number in range(count):
            route = ROUTES[NAMES[number % len(NAMES)]]
            reading = route.reading("w")
            await route.read(served.url, reading)
            assert events_of("w", reading)[-1]["payload"]["event"] == "end"

    await asyncio.gather(*(some(joins // AT_ONCE) for _ in range(AT_ONCE)))


def descriptors(served: Served) -> int:
    return len(os.listdir(f"/proc/{served.process.pid}/fd"))  # noqa: PTH208 - a list, not a tree.


async def test_nothing_is_left_of_them(tmp_path: Path) -> None:
    give_token(tmp_path)
    with serving(tmp_path, "--allow-host=127.0.0.1", afresh=True) as served:
        api = Api(served)
        await asyncio.to_thread(api.create, worker_id="w")
        said = [{"event": "text_delta", "data": {"text": str(number)}} for number in range(40)]
        await asyncio.to_thread(api.post, "/v1/workers/w/events", {"events": said})
        await asyncio.to_thread(api.act, "w", "stop")
        await come_and_go(served, WARM)
        before = rss_bytes(served.process.pid), descriptors(served)
        await come_and_go(served, JOINS)
        await asyncio.to_thread(
            wait_true, lambda: descriptors(served) <= before[1] + 2, "connections are left", KEEP_ALIVE_S - 10
        )
        assert api.get("/v1/runtime")["runtime"]["observer_count"] == 0
        assert rss_bytes(served.process.pid) - before[0] < 4 * MIB
