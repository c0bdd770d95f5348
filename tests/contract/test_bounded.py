"""Nothing grows without bound: not by requests, not by observers that stall or vanish."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed

from support.api import Api, exchange
from support.feed import Observer, data_of, in_thread, observing, text_of
from support.processes import rss_bytes, wait_true
from support.programs import program
from support.serving import Served, serving

FLAGS = ["--runtime-id=rt-bounded"]
AFRESH = True

MIB = 1 << 20
LINE = "x" * 63 + "\n"


def observer_count(api: Api) -> int:
    return int(api.get("/v1/runtime")["runtime"]["observer_count"])


@pytest.mark.soak
def test_ten_thousand_requests_for_nobody_leave_nothing(served: Served, api: Api) -> None:
    def series() -> set[str]:
        lines = api.request("GET", "/metrics").body.decode().splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    connection = api.connection()
    asked = 0

    def ask(count: int) -> None:
        nonlocal asked
        for _ in range(count):
            asked += 1
            answer = exchange(connection, served.token, "GET", f"/v1/workers/nobody-{asked}")
            assert answer.status == 404

    ask(500)
    series()
    before, before_bytes = series(), rss_bytes(served.process.pid)
    ask(9_500)
    connection.close()
    assert rss_bytes(served.process.pid) - before_bytes < 8 * MIB
    assert series() == before


@pytest.mark.trio
async def test_two_hundred_observers_that_vanish_are_forgotten(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("events", "v", 2000, "wait"), speech="jsonl"))[
        "worker_id"
    ]
    limit = trio.CapacityLimiter(20)

    async def vanish(number: int) -> None:
        async with limit, observing(served, worker_id, "earliest") as observer:
            for _ in range(number % 5):
                await observer.event()
            await observer.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, api.say, worker_id, "go")
        for number in range(200):
            nursery.start_soon(vanish, number)
    async with observing(served, worker_id, "earliest", queue_frames=64) as observer:
        await observer.until("end")
    await in_thread(wait_true, lambda: observer_count(api) == 0, "observers are remembered")


@pytest.mark.trio
async def test_an_observer_that_never_reads_costs_a_bounded_amount_and_nobody_else(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("flood", MIB, "each")))["worker_id"]
    quiet = (await in_thread(api.create, "cat"))["worker_id"]
    before = peak = rss_bytes(served.process.pid)
    async with observing(served, worker_id) as stuck, observing(served, quiet) as neighbour:
        start = (await stuck.event())["cursor"]
        await neighbour.event()
        async with observing(served, worker_id, queue_frames=256) as reader:
            await reader.event()
            for _ in range(100):
                await in_thread(api.say, worker_id, "more")
                await read_text(reader, MIB)
                peak = max(peak, rss_bytes(served.process.pid))
        assert peak - before < 120 * MIB
        await in_thread(api.say, quiet, "and you?")
        await neighbour.until_text("and you?\n")
        taken, diagnostic = await stuck.farewell()
    assert diagnostic["code"] == "runtime.cursor_expired"
    assert (taken[-1]["cursor"] if taken else start) in diagnostic["message"]
    said = text_of(taken)
    assert len(said) < 60 * MIB
    assert said == (LINE * (len(said) // 64 + 1))[: len(said)]
    for ended in (worker_id, quiet):
        await in_thread(api.act, ended, "cancel")


async def read_text(reader: Observer, size: int) -> None:
    """Take text until it is exactly so much."""
    while size:
        size -= len(text_of([await reader.event()]))
        assert size >= 0


@pytest.mark.trio
async def test_a_socket_that_takes_no_byte_is_closed_and_its_observer_can_come_back(tmp_path: Path) -> None:
    with serving(tmp_path, "--stall-s", "2") as served:
        await stall_and_come_back(served)


async def stall_and_come_back(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("flood", 12 * MIB)))["worker_id"]
    async with observing(served, worker_id, "earliest") as stuck:
        await in_thread(wait_true, lambda: observer_count(api) == 0, "the stuck one is still there")
        with pytest.raises(ConnectionClosed):
            await stuck.until("end")
    async with observing(served, worker_id, stuck.cursor or "earliest", queue_frames=64) as back:
        assert len(data_of(await back.until("end"), "end")) == 1
