"""The observation feed, version 1: snapshot, backlog, live; no gap, no duplicate, nothing foreign."""

from __future__ import annotations

import random
import re

import pytest
import trio
from trio_websocket import ConnectionClosed

from support.api import Api
from support.feed import Json, data_of, in_thread, journal, names, observing, refusal, text_of
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.programs import program
from support.serving import Served

pytestmark = pytest.mark.trio

FLAGS = ["--runtime-id=rt-feed"]
WAYS = {"many frames a call": [], "frame by frame": ["--no-ready-frames"]}

CURSOR = re.compile(r"wo_[0-9a-f]{16}")


def observer_count(api: Api) -> int:
    return int(api.get("/v1/runtime")["runtime"]["observer_count"])


async def test_the_first_frame_is_a_snapshot_whose_id_says_so(served: Served) -> None:
    api = Api(served)
    worker = await in_thread(api.create)
    worker_id = worker["worker_id"]
    await in_thread(api.say, worker_id, "hello")
    await in_thread(api.say, worker_id, "be kind", "system")
    async with observing(served, worker_id) as observer:
        frame = await observer.frame()
    assert set(frame) == {"kind", "envelope"}
    assert frame["kind"] == "event"
    envelope = frame["envelope"]
    assert set(envelope) == {"cursor", "event_id", "worker_id", "ts", "payload"}
    assert CURSOR.fullmatch(envelope["cursor"])
    assert envelope["event_id"] == f"snapshot:{envelope['cursor']}"
    assert envelope["worker_id"] == worker_id
    assert set(envelope["payload"]) == {"event", "data"}
    assert envelope["payload"]["event"] == "snapshot"
    data = envelope["payload"]["data"]
    assert set(data) == {
        "entries",
        "entries_start",
        "transcript_len",
        "greeting",
        "status",
        "phase",
        "in_flight",
        "as_of",
    }
    assert [(entry["role"], entry["content"]) for entry in data["entries"]] == [
        ("user", "hello"),
        ("system", "be kind"),
    ]
    assert (data["status"], data["phase"], data["in_flight"]) == ("running", "running", None)
    assert data["as_of"] == envelope["cursor"] == (await in_thread(api.worker, worker_id))["head"]


async def test_an_event_has_its_cursor_as_its_id(served: Served) -> None:
    worker_id = (await in_thread(Api(served).create, *program("lines", "a", 3)))["worker_id"]
    envelopes = await journal(served, worker_id)
    for envelope in envelopes:
        assert set(envelope) == {"cursor", "event_id", "worker_id", "ts", "payload"}
        assert envelope["event_id"] == envelope["cursor"]
        assert CURSOR.fullmatch(envelope["cursor"])
        assert envelope["worker_id"] == worker_id
        assert set(envelope["payload"]) == {"event", "data"}
    cursors = [envelope["cursor"] for envelope in envelopes]
    assert cursors == sorted(set(cursors))


@pytest.mark.parametrize("cursor", [None, "latest"])
async def test_without_a_cursor_a_feed_starts_now(served: Served, cursor: str | None) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    before = await in_thread(api.say, worker_id, "before")
    async with observing(served, worker_id, cursor) as observer:
        snapshot = await observer.event()
        assert snapshot["cursor"] == before["event_id"]
        after = await in_thread(api.say, worker_id, "after")
        event = await observer.event()
    assert event["cursor"] == after["event_id"]
    assert event["payload"] == {
        "event": "user_message",
        "data": {"segments": [{"kind": "text", "content": "after"}]},
    }


async def test_with_a_cursor_come_the_backlog_and_then_live_events(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    acks = [await in_thread(api.say, worker_id, str(number)) for number in range(4)]
    async with observing(served, worker_id, acks[1]["event_id"]) as observer:
        snapshot = await observer.event()
        assert snapshot["cursor"] == acks[1]["event_id"]
        assert snapshot["payload"]["data"]["as_of"] == acks[3]["event_id"]
        assert [(await observer.event())["cursor"] for _ in range(2)] == [
            acks[2]["event_id"],
            acks[3]["event_id"],
        ]
        live = await in_thread(api.say, worker_id, "live", "system")
        event = await observer.event()
    assert event["cursor"] == live["event_id"]
    assert event["payload"]["event"] == "system_item"


async def test_the_cursor_of_a_snapshot_can_be_resumed_from(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    async with observing(served, worker_id) as observer:
        cursor = (await observer.event())["cursor"]
    ack = await in_thread(api.say, worker_id, "missed")
    async with observing(served, worker_id, cursor) as observer:
        await observer.event()
        assert (await observer.event())["cursor"] == ack["event_id"]


async def test_earliest_is_everything_that_is_kept(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, initial_input={"content": "first"}))["worker_id"]
    async with observing(served, worker_id, "earliest") as observer:
        assert names([await observer.event() for _ in range(4)]) == [
            "snapshot",
            "status",
            "user_message",
            "status",
        ]


async def test_a_snapshot_has_the_text_that_is_not_finished(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, "cat"))["worker_id"]
    async with observing(served, worker_id, "earliest") as observer:
        await in_thread(api.say, worker_id, "one")
        await observer.until_text("one\n")
    async with observing(served, worker_id) as observer:
        data = (await observer.event())["payload"]["data"]
        assert data["in_flight"] == {"text": "one\n"}
        assert [entry["content"] for entry in data["entries"]] == ["one"]
        await in_thread(api.say, worker_id, "two")
        assert data_of(await observer.until("text_done"), "text_done") == [{"text": "one\n"}]
    await in_thread(api.act, worker_id, "cancel")


async def test_a_worker_tells_its_exit_its_status_and_its_end_after_all_output(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("lines", "x", 200)))["worker_id"]
    envelopes = await journal(served, worker_id)
    assert names(envelopes)[:5] == ["status", "execution_plan", "reserved", "status", "status"]
    assert [data["phase"] for data in data_of(envelopes, "status")] == [
        "accepted",
        "starting",
        "running",
        "succeeded",
    ]
    assert names(envelopes)[-5:] == ["text_done", "released", "exit", "status", "end"]
    assert data_of(envelopes, "exit") == [{"code": 0, "signal": None, "reason": "exited"}]
    assert data_of(envelopes[-2:-1], "status") == [{"status": "stopped", "phase": "succeeded"}]
    assert text_of(envelopes) == "".join(f"x {number}\n" for number in range(200))
    assert (await in_thread(api.worker, worker_id))["head"] == envelopes[-1]["cursor"]


async def test_an_ended_worker_can_still_be_watched_and_the_feed_stays_open(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, "true"))["worker_id"]
    first = await journal(served, worker_id)
    assert await journal(served, worker_id) == first
    async with observing(served, worker_id, first[-1]["cursor"]) as observer:
        snapshot = await observer.event()
        assert snapshot["payload"]["data"]["phase"] == "succeeded"
        with trio.fail_after(PATIENCE_S):
            await observer.connection.ping(b"still there")


async def test_two_chatty_workers_never_hear_each_other(served: Served) -> None:
    api = Api(served)
    ids = {
        name: (await in_thread(api.create, *program("events", name, 500), speech="jsonl"))["worker_id"]
        for name in ("left", "right")
    }
    heard: dict[str, list[Json]] = {}

    async def listen(name: str) -> None:
        heard[name] = await journal(served, ids[name])

    async with trio.open_nursery() as nursery:
        for name in ids:
            nursery.start_soon(listen, name)
    for name, envelopes in heard.items():
        assert {envelope["worker_id"] for envelope in envelopes} == {ids[name]}
        assert text_of(envelopes) == "".join(f"{name} {number}\n" for number in range(500))
    cursors = [envelope["cursor"] for envelopes in heard.values() for envelope in envelopes]
    assert len(set(cursors)) == len(cursors)


async def read_with_cuts(served: Served, worker_id: str, seed: int) -> list[Json]:
    """The whole journal over connections that are reset at random points."""
    rng = random.Random(seed)
    taken: list[Json] = []
    while not taken or taken[-1]["payload"]["event"] != "end":
        cursor = taken[-1]["cursor"] if taken else "earliest"
        async with observing(served, worker_id, cursor, queue_frames=rng.choice([1, 8, 64])) as observer:
            snapshot = await observer.event()
            assert snapshot["event_id"] == f"snapshot:{snapshot['cursor']}"
            if taken:
                assert snapshot["cursor"] == cursor
            for _ in range(rng.randrange(1, 60)):
                taken.append(await observer.event())
                if taken[-1]["payload"]["event"] == "end":
                    break
            await observer.cut()
    return taken


async def test_a_reader_that_is_cut_at_random_points_misses_nothing(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("events", "n", 1500, "wait"), speech="jsonl"))[
        "worker_id"
    ]
    readings: list[list[Json]] = []

    async def read(seed: int) -> None:
        readings.append(await read_with_cuts(served, worker_id, seed))

    async with trio.open_nursery() as nursery:
        for seed in range(4):
            nursery.start_soon(read, seed)
        await in_thread(api.say, worker_id, "go")
    whole = await journal(served, worker_id)
    assert text_of(whole) == "".join(f"n {number}\n" for number in range(1500))
    for reading in readings:
        assert reading == whole


async def test_an_observer_that_sends_data_is_told_and_closed(served: Served) -> None:
    worker_id = (await in_thread(Api(served).create))["worker_id"]
    for message in ("hello", b"\x00\x01"):
        async with observing(served, worker_id) as observer:
            await observer.event()
            await observer.connection.send_message(message)
            assert (await observer.diagnostic())["code"] == "runtime.observation_only"


async def test_a_ping_is_answered_while_events_flow(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("events", "p", 300, "wait"), speech="jsonl"))[
        "worker_id"
    ]
    async with observing(served, worker_id, queue_frames=2000) as observer:
        await observer.event()
        await in_thread(api.say, worker_id, "go")
        for number in range(5):
            with trio.fail_after(PATIENCE_S):
                await observer.connection.ping(b"%d" % number)
        await observer.until("end")


async def test_a_close_of_the_observer_is_answered(served: Served) -> None:
    worker_id = (await in_thread(Api(served).create))["worker_id"]
    async with observing(served, worker_id) as observer:
        await observer.event()
        with trio.fail_after(PATIENCE_S):
            await observer.connection.aclose(1000, "thank you")
        with pytest.raises(ConnectionClosed):
            await observer.frame()


async def test_a_close_in_the_middle_of_a_long_backlog_is_answered_at_once(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("flood", 8 << 20)))["worker_id"]
    async with observing(served, worker_id) as observer:
        await observer.until("end")
    async with observing(served, worker_id, "earliest") as observer:
        await observer.event()
        with trio.fail_after(PATIENCE_S):
            await observer.connection.aclose()
    await in_thread(wait_true, lambda: not observer_count(api), "the observer is remembered")


async def test_compression_is_never_accepted(served: Served) -> None:
    worker_id = (await in_thread(Api(served).create))["worker_id"]
    headers = [
        (b"Authorization", f"Bearer {served.token}".encode()),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits"),
    ]
    async with observing(served, worker_id, headers=headers) as observer:
        accepted = {name.lower() for name, _ in observer.connection.handshake_headers}
        assert b"sec-websocket-extensions" not in accepted
        assert (await observer.event())["payload"]["event"] == "snapshot"


async def test_what_is_wrong_before_the_upgrade_is_refused_with_the_http_error(served: Served) -> None:
    worker_id = (await in_thread(Api(served).create))["worker_id"]
    assert await refusal(served, "nobody") == (404, "worker_not_found")
    assert await refusal(served, "%20") == (400, "invalid_worker_id")
    assert await refusal(served, worker_id, query="?cursor=a&cursor=b") == (400, "invalid_query")
    for token in ("", "Bearer wrong"):
        for asked in (worker_id, "nobody"):
            unauthorized = await refusal(served, asked, headers={"Authorization": token})
            assert unauthorized == (401, "unauthorized")
    for headers, code in [
        ({"Origin": "http://evil.example"}, "forbidden_origin"),
        ({"Host": "evil.example"}, "forbidden_host"),
    ]:
        assert await refusal(served, worker_id, headers=headers) == (403, code)


async def test_a_plain_get_of_the_feed_is_no_upgrade_and_no_crash(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    answer = await in_thread(api.request, "GET", f"/v1/workers/{worker_id}/events/ws")
    assert 400 <= answer.status < 500
    assert answer.code


async def test_a_worker_that_is_removed_while_watched_is_told_to_its_observers(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    async with observing(served, worker_id) as observer:
        await observer.event()
        await in_thread(api.act, worker_id, "stop")
        assert names(await observer.until("end"))[-3:] == ["exit", "status", "end"]
        await in_thread(api.request, "DELETE", f"/v1/workers/{worker_id}")
        diagnostic = await observer.diagnostic()
    assert diagnostic["code"] == "runtime.worker_not_found"
    assert worker_id in diagnostic["message"]


async def test_produced_events_pass_unchanged_and_unknown_names_too(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create))["worker_id"]
    sent = [
        {"event": "tool_call_start", "data": {"id": "t1", "name": "ls"}},
        {"event": "tool_call_args_delta", "data": {"id": "t1", "json": '{"a":'}},
        {"event": "tool_call_done", "data": {"id": "t1", "name": "ls", "arguments": {"a": 1.5}}},
        {"event": "tool_result", "data": {"id": "t1", "summary": "ok", "output": [None, True]}},
        {"event": "usage", "data": {"input_tokens": 1, "output_tokens": 2}},
        {"event": "of_my_own", "data": {"é": "\u0000\u2028", "n": -1e300, "big": 2**63}},
    ]
    async with observing(served, worker_id) as observer:
        await observer.event()
        answer = await in_thread(api.post, f"/v1/workers/{worker_id}/events", {"events": sent})
        got = [await observer.event() for _ in sent]
    assert [envelope["payload"] for envelope in got] == sent
    assert (got[0]["cursor"], got[-1]["cursor"]) == (answer["first"], answer["last"])


async def test_two_hundred_observers_of_one_worker_all_see_everything(served: Served) -> None:
    api = Api(served)
    worker_id = (await in_thread(api.create, *program("events", "all", 100, "wait"), speech="jsonl"))[
        "worker_id"
    ]
    seen: list[list[Json]] = []
    ready = 0
    everybody = trio.Event()

    async def watch() -> None:
        nonlocal ready
        async with observing(served, worker_id, "earliest", queue_frames=64) as observer:
            first = await observer.event()
            assert first["payload"]["event"] == "snapshot"
            ready += 1
            if ready == 200:
                everybody.set()
            seen.append(await observer.until("end"))

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(watch)
        with trio.fail_after(PATIENCE_S):
            await everybody.wait()
        assert await in_thread(observer_count, api) == 200
        await in_thread(api.say, worker_id, "go")
    assert len(seen) == 200
    assert all(reading == seen[0] for reading in seen)
    assert text_of(seen[0]) == "".join(f"all {number}\n" for number in range(100))
