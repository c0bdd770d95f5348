"""Observers on links of 10 KB/s of a process that writes 10 MB/s: kept, exact, told what retention took."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.following import Diagnosed, Reading
from support.processes import peak_rss_bytes, rss_bytes, wait_true
from support.programs import program
from support.routes import ROUTES, Route, events_of, give_token
from support.serving import Served, durable_server, serving
from support.slow_links import SlowLinks
from support.tasks import soon

pytestmark = pytest.mark.asyncio

KIB, MB, MIB = 1 << 10, 10**6, 1 << 20
LINK_BYTES_S, WORKER_BYTES_S = 10_000, 10 * MB
STALL_S = 4
HELD_MIB = 2
"""What an observer may cost: what its connection holds (docs/architecture.md), and the connection."""
SERVER_MIB = 32
"""What the server needs once: pieces of output on their way, an allocator's arenas."""
STAYING = ROUTES.keys() - {"long poll", "long poll of everybody"}
"""Those that are one connection from the first to the last event."""
WAYS = {"ready frames": [], "plain sends": ["--no-ready-frames"]}


@contextmanager
def served_by(store: str, tmp_path: Path, *flags: str) -> Iterator[Served]:
    """A server with this store, that takes the token of these readers."""
    give_token(tmp_path)
    told = ("--allow-host=127.0.0.1", f"--stall-s={STALL_S}", *flags)
    if store == "memory":
        with serving(tmp_path, *told, afresh=True) as served:
            yield served
        return
    with (
        durable_server(tmp_path, *told, "--durability=os", runtime_id=f"rt-slow-{len(flags)}") as place,
        place.serving(afresh=True) as served,
    ):
        yield served


@asynccontextmanager
async def slowly_watched(
    served: Served, routes: dict[str, Route], query: str = ""
) -> AsyncIterator[tuple[SlowLinks, dict[str, Reading], dict[str, asyncio.Task[None]]]]:
    """The worker `w`, by each of these routes over a slow link."""
    readings = {
        name: route.reading("w", query=query if route.knows_resets else "") for name, route in routes.items()
    }
    async with SlowLinks(served, LINK_BYTES_S).listening() as links:
        reads = {
            name: asyncio.create_task(route.read(links.url, readings[name])) for name, route in routes.items()
        }
        try:
            yield links, readings, reads
        finally:
            for task in reads.values():
                task.cancel()
            await asyncio.wait(reads.values())


def spoken(reading: Reading) -> int:
    """How many bytes of stdout it was told."""
    texts = (each["payload"] for each in reading.envelopes if each["payload"]["event"] == "text_delta")
    return sum(len(payload["data"]["text"]) for payload in texts)


def counted(api: Api, metric: str) -> dict[str, int]:
    """A metric by its one label."""
    exposed = api.request("GET", "/metrics").body.decode()
    found = re.findall(rf'^{metric}{{\w+="([^"]+)"}} ([0-9.]+)$', exposed, re.M)
    return {label: int(float(count)) for label, count in found}


def open_feeds(api: Api) -> int:
    """Feeds that are open; a long poll whose answer is on its way is none any more."""
    by_transport = counted(api, "watchglass_feeds_open")
    return sum(count for transport, count in by_transport.items() if transport != "long_poll")


def closed_feeds(api: Api) -> set[str]:
    """Why feeds have ended."""
    return {why for why, count in counted(api, "watchglass_feeds_closed_total").items() if count}


@pytest.mark.parametrize(
    ("store", "way", "size"),
    [
        ("fs", "ready frames", 10 * MB),
        pytest.param("memory", "ready frames", 10 * MB, marks=pytest.mark.soak),
        pytest.param("fs", "plain sends", 10 * MB, marks=pytest.mark.soak),
        pytest.param("memory", "plain sends", 10 * MB, marks=pytest.mark.soak),
        pytest.param("fs", "ready frames", 30 * MB, marks=pytest.mark.soak),
    ],
)
async def test_while_the_log_holds_their_place_they_are_kept_and_get_exactly_the_log(
    tmp_path: Path, store: str, way: str, size: int
) -> None:
    with served_by(store, tmp_path, "--retain-bytes=1073741824", *WAYS[way]) as served:
        api = Api(served)
        talker = program("pace", WORKER_BYTES_S, size)
        await asyncio.to_thread(api.create, *talker, worker_id="w")
        before = rss_bytes(served.process.pid)
        near = ROUTES["v2"].reading("w")
        reads_near = asyncio.create_task(ROUTES["v2"].read(served.url, near))
        async with slowly_watched(served, ROUTES) as (links, readings, reads):
            await asyncio.to_thread(api.say, "w", "go")
            await asyncio.to_thread(wait_true, lambda: spoken(near) == size, "it has not spoken")
            # Nobody waited for the slow ones; they have gone on for longer than a stall takes.
            wanted = 3 * STALL_S * LINK_BYTES_S // 2
            await asyncio.to_thread(
                wait_true, lambda: links.have_carried(wanted) == len(ROUTES), "one stands still"
            )
            assert max(map(spoken, readings.values())) < size // 2
            assert await asyncio.to_thread(open_feeds, api) == len(STAYING) + 1, closed_feeds(api)
            assert closed_feeds(api) <= {"answered"}, "a long poll is answered again and again"
            links.open()
            await asyncio.to_thread(api.say, "w", "leave")
            await soon(asyncio.gather(reads_near, *reads.values()))
        log = events_of("w", near)
        said = "".join(each["payload"]["data"].get("text", "") for each in log if _is_text(each))
        assert said == "".join(f"{number:063d}\n" for number in range(size // 64))
        for name, reading in readings.items():
            assert events_of("w", reading) == log, name
        kept = 3 * size if store == "memory" else 0  # Each word is told as it comes, and when all is said.
        cost = peak_rss_bytes(served.process.pid) - before
        assert cost < kept + (SERVER_MIB + HELD_MIB * (len(ROUTES) + 1)) * MIB, f"{cost >> 10} KiB"


def _is_text(envelope: dict[str, Any]) -> bool:
    return bool(envelope["payload"]["event"] == "text_delta")


RETAINED_BYTES = 8 * MIB
SAID_BYTES = 20 * MB
EXPIRED = {"v1": 1008, "v2": 4410, "v2 of everybody": 4410, "session": 4410}


@pytest.mark.parametrize(
    ("store", "way"),
    [
        ("memory", "ready frames"),
        pytest.param("fs", "ready frames", marks=pytest.mark.soak),
        pytest.param("memory", "plain sends", marks=pytest.mark.soak),
        pytest.param("fs", "plain sends", marks=pytest.mark.soak),
    ],
)
async def test_whom_retention_overtakes_is_told_where_it_stood_and_had_everything_up_to_there(
    tmp_path: Path, store: str, way: str
) -> None:
    with served_by(store, tmp_path, f"--retain-bytes={RETAINED_BYTES}", *WAYS[way]) as served:
        async with overtaken(served, ROUTES) as (links, readings, reads, near):
            links.open()
            told = await soon(asyncio.gather(*reads.values(), return_exceptions=True))
            for name, fault in zip(ROUTES, told, strict=True):
                assert isinstance(fault, Diagnosed), (name, fault)
                reading = readings[name]
                assert reading.cursor in (fault.message if name == "v1" else fault.facts["requested"])
                assert fault.code in {"cursor_expired", "cursor_unknown_or_expired"}
                if name != "v1":
                    assert fault.facts["reason"] == "retention"
                if name in EXPIRED:
                    assert (fault.closed, fault.code) == (EXPIRED[name], "cursor_expired")
                got = events_of("w", reading)
                assert got
                assert got == events_of("w", near)[: len(got)], name
            assert counted(Api(served), "watchglass_feeds_closed_total")["runtime.cursor_expired"] >= len(
                STAYING
            )


@pytest.mark.soak
@pytest.mark.parametrize(
    ("store", "way"),
    [
        ("fs", "ready frames"),
        ("memory", "ready frames"),
        ("fs", "plain sends"),
    ],
)
async def test_or_it_is_told_by_a_reset_and_goes_on_from_there(tmp_path: Path, store: str, way: str) -> None:
    routes = {name: route for name, route in ROUTES.items() if route.knows_resets}
    with served_by(store, tmp_path, f"--retain-bytes={RETAINED_BYTES}", *WAYS[way]) as served:
        async with overtaken(served, routes, "&on_expired=snapshot") as (links, readings, reads, near):
            links.open()
            await asyncio.to_thread(
                wait_true, lambda: all(each.resets for each in readings.values()), "who is told nothing?"
            )
            await asyncio.to_thread(Api(served).say, "w", "leave")
            await soon(asyncio.gather(*reads.values()))
            await asyncio.to_thread(wait_true, lambda: near.ended, "the worker does not leave")
            log = events_of("w", near)
            for name, reading in readings.items():
                [reset] = reading.resets
                assert reset["reason"] == "retention"
                assert events_of("w", reading) == [
                    each for each in log if not reset["requested"] < each["cursor"] <= reset["head"]
                ], name


@asynccontextmanager
async def overtaken(
    served: Served, routes: dict[str, Route], query: str = ""
) -> AsyncIterator[tuple[SlowLinks, dict[str, Reading], dict[str, asyncio.Task[None]], Reading]]:
    """Readers over slow links, and one that is near, when the worker has said far more than is kept."""
    api = Api(served)
    await asyncio.to_thread(api.create, *program("pace", WORKER_BYTES_S, SAID_BYTES), worker_id="w")
    near = ROUTES["v2"].reading("w")
    reads_near = asyncio.create_task(ROUTES["v2"].read(served.url, near))
    async with slowly_watched(served, routes, query) as (links, readings, reads):
        await asyncio.to_thread(
            wait_true, lambda: open_feeds(api) == len(STAYING & routes.keys()) + 1, "not all have joined"
        )
        await asyncio.to_thread(api.say, "w", "go")
        await asyncio.to_thread(wait_true, lambda: spoken(near) == SAID_BYTES, "it has not spoken")
        yield links, readings, reads, near
    reads_near.cancel()
    await asyncio.wait([reads_near])
