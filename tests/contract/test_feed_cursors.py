"""A cursor that cannot be honoured is answered loudly: asked, oldest and newest are named."""

from __future__ import annotations

import pytest

from support.api import Api
from support.feed import Json, data_of, in_thread, journal, names, observing, refusal
from support.processes import wait_true
from support.serving import Served

pytestmark = pytest.mark.trio

FLAGS = ["--runtime-id=rt-cursors", "--retain-events=20", "--max-observers=3"]
WAYS = {"many frames a call": [], "frame by frame": ["--no-ready-frames"]}

MALFORMED = "runtime.cursor_malformed"
UNKNOWN = "runtime.cursor_unknown_or_expired"


NOT_CURSORS = [
    "",
    " ",
    "x",
    "0",
    "wo_",
    "wo_1",
    "wo_00000000000000000",
    "WO_0000000000000001",
    "wo_000000000000000G",
    "wo_000000000000000A",
    "snapshot:wo_0000000000000001",
    "earliest ",
    "wo_0000000000000001\n",
    "wo_\u0661000000000000001",
    "x" * 5000,
]


@pytest.mark.parametrize("cursor", NOT_CURSORS, ids=lambda cursor: repr(cursor[:30]))
async def test_what_is_no_cursor_is_told_to_be_malformed(served: Served, cursor: str) -> None:
    worker_id = (await in_thread(Api(served).create))["worker_id"]
    async with observing(served, worker_id, cursor) as observer:
        diagnostic = await observer.diagnostic()
    assert diagnostic["code"] == MALFORMED
    assert "malformed" in diagnostic["message"]
    assert len(diagnostic["message"]) < 400


async def test_a_cursor_ahead_of_the_newest_event_is_refused(served: Served) -> None:
    worker = await in_thread(Api(served).create)
    for ahead in ("wo_ffffffffffffffff", f"wo_{int(worker['head'][3:], 16) + 1:016x}"):
        async with observing(served, worker["worker_id"], ahead) as observer:
            diagnostic = await observer.diagnostic()
        assert diagnostic["code"] == UNKNOWN
        for named in (ahead, worker["oldest"], worker["head"]):
            assert named in diagnostic["message"]


async def test_a_cursor_of_another_worker_is_refused(served: Served) -> None:
    api = Api(served)
    mine, between, late = [await in_thread(api.create) for _ in range(3)]
    await in_thread(api.say, mine["worker_id"], "later")
    worker = await in_thread(api.worker, mine["worker_id"])
    for foreign in (between["head"], late["head"]):
        async with observing(served, mine["worker_id"], foreign) as observer:
            diagnostic = await observer.diagnostic()
        assert diagnostic["code"] == UNKNOWN
        for named in (foreign, worker["oldest"], worker["head"]):
            assert named in diagnostic["message"]


async def chatted(api: Api, events: int) -> Json:
    """A passive worker that said so many events and was stopped."""
    worker: Json = await in_thread(api.create)
    said = [{"event": "said", "data": {"number": number}} for number in range(events)]
    await in_thread(api.post, f"/v1/workers/{worker['worker_id']}/events", {"events": said})
    await in_thread(api.act, worker["worker_id"], "stop")
    return worker


async def test_a_cursor_that_retention_dropped_is_refused_and_never_clamped(served: Served) -> None:
    api = Api(served)
    created = await chatted(api, 200)
    kept = await journal(served, created["worker_id"])
    worker = await in_thread(api.worker, created["worker_id"])
    assert len(kept) == 20
    assert (kept[0]["cursor"], kept[-1]["cursor"]) == (worker["oldest"], worker["head"])
    for dropped in (created["oldest"], created["head"]):
        async with observing(served, created["worker_id"], dropped) as observer:
            diagnostic = await observer.diagnostic()
        assert diagnostic["code"] == UNKNOWN
        for named in (dropped, worker["oldest"], worker["head"]):
            assert named in diagnostic["message"]


async def test_every_kept_cursor_can_be_resumed_from(served: Served) -> None:
    worker_id = (await chatted(Api(served), 100))["worker_id"]
    kept = await journal(served, worker_id)
    for place, envelope in enumerate(kept[:-1]):
        async with observing(served, worker_id, envelope["cursor"]) as observer:
            assert names([await observer.event()]) == ["snapshot"]
            assert await observer.until("end") == kept[place + 1 :]


async def test_a_reader_that_retention_overtook_is_told_after_what_it_was_sent(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    async with observing(served, worker_id) as observer:
        start = (await observer.event())["cursor"]
        for number in range(60):
            said = {"event": "said", "data": {"number": number, "padding": "p" * 900_000}}
            await in_thread(api.post, f"/v1/workers/{worker_id}/events", {"events": [said]})
        taken, diagnostic = await observer.farewell()
    assert diagnostic["code"] == "runtime.cursor_expired"
    worker = await in_thread(api.worker, worker_id)
    for named in (taken[-1]["cursor"] if taken else start, worker["oldest"], worker["head"]):
        assert named in diagnostic["message"]
    assert [data["number"] for data in data_of(taken, "said")] == list(range(len(taken)))


async def test_too_many_observers_are_refused_before_the_upgrade(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    await in_thread(
        wait_true,
        lambda: api.get("/v1/runtime")["runtime"]["observer_count"] == 0,
        "one of the tests before still watches",
    )
    async with (
        observing(served, worker_id) as first,
        observing(served, worker_id) as second,
        observing(served, worker_id) as third,
    ):
        for observer in (first, second, third):
            await observer.event()
        assert await refusal(served, worker_id) == (429, "resource_limit_exceeded")
