"""Nothing grows without bound: not by requests, not by observers that stall or vanish."""

from __future__ import annotations

import pytest
import trio
from support.api import Api, exchange
from support.feed import data_of, in_thread, observing, text_of
from support.processes import rss_bytes
from support.programs import program
from support.serving import Served
from trio_websocket import ConnectionClosed

FLAGS = ["--runtime-id=rt-bounded"]

MIB = 1 << 20
LINE = "x" * 63 + "\n"


def observer_count(api: Api) -> int:
    return int(api.get("/v1/runtime")["runtime"]["observer_count"])


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
    worker_id = (await in_thread(api.create, *program("events", "v", 2000, "wait"), speech="jsonl"))["worker_id"]
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
    with trio.fail_after(20):
        while await in_thread(observer_count, api):
            await trio.lowlevel.checkpoint()


@pytest.mark.trio
async def test_an_observer_that_never_reads_costs_a_bounded_amount_and_nobody_else(served: Served) -> None:
    api = Api(served)
    size = 100 * MIB
    worker_id = (await in_thread(api.create, *program("flood", size, "wait")))["worker_id"]
    quiet = (await in_thread(api.create, "cat"))["worker_id"]
    async with observing(served, worker_id) as stuck, observing(served, quiet) as neighbour:
        first = await stuck.event()
        await neighbour.event()
        before = rss_bytes(served.process.pid)
        peak = before
        async with observing(served, worker_id, queue_frames=256) as reader:
            await reader.event()
            await in_thread(api.say, worker_id, "go")
            taken = 0
            while True:
                envelope = await reader.event()
                if envelope["payload"]["event"] == "end":
                    break
                if envelope["payload"]["event"] == "text_delta":
                    taken += len(envelope["payload"]["data"]["text"])
                if taken % (64 * 1024) == 0:
                    peak = max(peak, rss_bytes(served.process.pid))
            assert taken == size
        assert peak - before < 150 * MIB
        await in_thread(api.say, quiet, "and you?")
        await neighbour.until_text("and you?\n")
        taken_late, diagnostic = await stuck.farewell()
    assert diagnostic["code"] == "runtime.cursor_expired"
    assert (taken_late[-1] if taken_late else first)["cursor"] in diagnostic["message"]
    said = text_of(taken_late)
    assert said == (LINE * (len(said) // 64 + 1))[: len(said)]
    await in_thread(api.act, quiet, "cancel")


@pytest.mark.trio
@pytest.mark.soak
async def test_a_socket_that_takes_no_byte_for_half_a_minute_is_closed(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("flood", 30 * MIB)))["worker_id"]
    async with observing(served, worker_id, "earliest") as stuck:
        with trio.fail_after(60):
            while await in_thread(observer_count, api):
                await trio.sleep(1)  # Half a minute must pass; nobody tells us when it has.
        with pytest.raises(ConnectionClosed):
            while True:
                await stuck.frame()
    async with observing(served, worker_id, stuck.cursor or "earliest", queue_frames=64) as back:
        assert len(data_of(await back.until("end"), "end")) == 1
