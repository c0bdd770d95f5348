"""The runtime's feed, `/v1/events`: everybody's events in one order, over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from watchglass.protocol.all_workers import SNAPSHOT_BYTES_MAX
from watchglass.protocol.base import TEXT_CHARS_MAX
from watchglass.protocol.cursor import BEGINNING
from watchglass.protocol.feed_v2 import SUBPROTOCOL
from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import RuntimeOptions
from watchglass.store.base import Log, Retention

from support.following import TRANSPORTS, AllReading, feed_at, follow, frames_of, get, messages
from support.inprocess import BEARER, InProcess
from support.proxy import cutting
from support.stores import OPENERS, read_all
from support.tasks import soon
from support.watched import SPEAKING_SOON, create, url, watched

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]

EVERYBODY = "&workers=*"
LAST = "it_is_over"


def is_last(envelope: Json) -> bool:
    return bool(envelope["payload"]["event"] == LAST)


def reading(query: str = EVERYBODY, cursor: str = "earliest") -> AllReading:
    return AllReading(query=query, cursor=cursor, is_last=is_last)


async def say(server: InProcess, worker_id: str, *names: str) -> Json:
    events = [{"event": name, "data": {"of": worker_id}} for name in names]
    answer = await server.ask("POST", f"/v1/workers/{worker_id}/events", {"events": events})
    assert answer.status == 200, answer
    cursors: Json = answer.json
    return cursors


async def logged(server: InProcess, *worker_ids: str) -> list[Json]:
    """What these workers' logs and the runtime's have, in order."""
    logs: list[Log] = [server.store.runtime_log]
    logs += [await server.store.open(worker_id, lambda _records, _events: None) for worker_id in worker_ids]
    records = [record for log in logs for record in await read_all(log, after=BEGINNING)]
    return [orjson.loads(record.line) for record in sorted(records)]


def without_prev(envelopes: list[Json]) -> list[Json]:
    return [{name: value for name, value in each.items() if name != "prev"} for each in envelopes]


@pytest_asyncio.fixture(params=["memory", "fs", "fs-os"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    async with watched(opener=OPENERS[request.param], hosts=("127.0.0.1",)) as server:
        await create(server, "v")
        yield server


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_everybodys_events_come_in_the_order_of_their_sequences(
    server: InProcess, transport: str
) -> None:
    following = asyncio.create_task(follow(transport, url(server), reading(), retry=False))
    for number in range(20):
        await say(server, "vw"[number % 2], f"n{number}")
    await create(server, "later")
    await say(server, "later", "mine", LAST)
    got = await soon(following)
    assert without_prev(got.envelopes) == await logged(server, "w", "v", "later")
    again = await soon(follow(transport, url(server), reading(), retry=False))
    assert again.envelopes == got.envelopes


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_without_workers_the_runtime_speaks_for_itself(server: InProcess, transport: str) -> None:
    following = asyncio.create_task(
        follow(
            transport,
            url(server),
            AllReading(is_last=lambda envelope: "third" in envelope["payload"]["data"]["message"]),
            retry=False,
        )
    )
    await say(server, "w", "unheard")
    await create(server, "third")
    got = await soon(following)
    assert {each["worker_id"] for each in got.envelopes} == {"runtime"}
    assert [each["payload"]["event"] for each in got.envelopes] == ["runtime_started"] + 3 * [
        "worker_created"
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_those_who_are_named_are_heard_beside_the_runtime(server: InProcess, transport: str) -> None:
    await create(server, "x")
    following = asyncio.create_task(follow(transport, url(server), reading("&workers=w,x"), retry=False))
    for worker_id in "vwxv":
        await say(server, worker_id, "said")
    await say(server, "w", LAST)
    got = await soon(following)
    assert without_prev(got.envelopes) == await logged(server, "w", "x")


CUTS = st.lists(st.one_of(st.integers(1, 900), st.integers(1, 20_000)), max_size=8)
SAID = st.lists(st.tuples(st.sampled_from("vwx"), st.integers(1, 40)), min_size=1, max_size=12)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("store", ["memory", "fs"])
@settings(max_examples=5, deadline=None)
@given(cuts=CUTS, said=SAID, late=st.booleans())
async def test_any_cuts_at_any_bytes_leave_exactly_the_union(
    transport: str, store: str, cuts: list[int], said: list[tuple[str, int]], *, late: bool
) -> None:
    async with watched(bounds=SPEAKING_SOON, opener=OPENERS[store], hosts=("127.0.0.1",)) as server:

        async def write() -> None:
            for worker_id, count in said:
                if server.runtime._catalog.find(worker_id) is None:
                    await create(server, worker_id)
                await say(server, worker_id, *[f"n{number}" for number in range(count)])
            await say(server, "w", LAST)

        with cutting("127.0.0.1", server.port, cuts) as proxy:
            if late:
                await write()
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(follow(transport, proxy.url, reading()))
                if not late:
                    await write()
        ids = {"w", *(worker_id for worker_id, _ in said)}
        assert without_prev(following.result().envelopes) == await logged(server, *ids)
        await soon(server.app.feeds.wait_none_open())


async def test_from_every_place_each_transport_gives_exactly_what_follows(server: InProcess) -> None:
    for number in range(6):
        await say(server, "vw"[number % 2], f"n{number}")
    await say(server, "w", LAST)
    log = await logged(server, "w", "v")
    for place, envelope in enumerate(log[:-1]):
        for transport in TRANSPORTS:
            got = await soon(follow(transport, url(server), reading(cursor=envelope["cursor"]), retry=False))
            assert without_prev(got.envelopes) == log[place + 1 :]


async def test_places_by_count_and_by_time_are_found_across_the_logs(server: InProcess) -> None:
    for number in range(6):
        await say(server, "vw"[number % 2], f"n{number}")
    last = await say(server, "w", LAST)
    log = await logged(server, "w", "v")
    for count in range(1, len(log) + 3):
        got = await soon(follow("long_poll", url(server), reading(cursor=f"tail:{count}"), retry=False))
        assert without_prev(got.envelopes) == log[-count:]
    for place, envelope in enumerate(log):
        got = await soon(
            follow("long_poll", url(server), reading(cursor=f"time:{envelope['ts']}"), retry=False)
        )
        assert without_prev(got.envelopes)[-(len(log) - place) :] == log[place:]
    for nothing in ("latest", "tail:0", last["last"]):
        status, content = await get(url(server), f"/v1/events?workers=*&wait_s=0&cursor={nothing}")
        answer = orjson.loads(content)
        assert (status, answer["events"], answer["next"]) == (200, [], last["last"])
        assert (answer["up_to_date"], answer["ended"]) == (True, False)


async def test_who_will_not_wait_is_told_what_is_there(server: InProcess) -> None:
    many = [f"worker-{number}" for number in range(40)]  # To read them takes turns of the loop.
    for worker_id in many:
        await server.runtime.create_worker(CreateWorkerRequest(worker_id=worker_id))
    status, content = await get(url(server), "/v1/events?workers=*&wait_s=0&cursor=earliest&limit=512")
    answer = orjson.loads(content)
    assert (status, answer["up_to_date"]) == (200, True)
    assert without_prev(answer["events"]) == await logged(server, "w", "v", *many)


async def test_a_filter_lets_names_pass_and_the_cursor_moves_on(server: InProcess) -> None:
    await say(server, "w", "no", "yes", "no")
    await say(server, "v", "yes", "no")
    status, content = await get(url(server), "/v1/events?workers=*&types=yes&cursor=earliest")
    answer = orjson.loads(content)
    assert status == 200
    assert [each["worker_id"] for each in answer["events"]] == ["w", "v"]
    assert answer["next"] == answer["head"]


async def test_a_removed_worker_leaves_and_the_runtime_says_so(server: InProcess) -> None:
    said = await say(server, "v", "gone soon")
    async with feed_at(url(server), "/v1/events?workers=*&cursor=latest") as feed:
        frames = frames_of(feed)
        await server.runtime.stop("v")
        await server.runtime.remove("v")
        told: list[Json] = []
        while not told or told[-1]["payload"]["event"] != "worker_removed":
            frame = await soon(anext(frames))
            told += frame.get("envelopes", [])
        left = told[-1]["payload"]["data"]
        assert left["worker_ref"]["worker_id"] == "v"
        assert left["oldest"] < said["last"] < left["head"]
    # Whoever stood at one of its events goes on from there.
    await say(server, "w", LAST)
    got = await soon(follow("sse", url(server), reading(cursor=said["last"]), retry=False))
    log = [each for each in await logged(server, "w") if each["cursor"] > said["last"]]
    assert without_prev(got.envelopes) == log
    assert (await server.ask("GET", "/v1/events?workers=v")).status == 404


async def test_a_named_worker_that_does_not_exist_is_refused_by_name(server: InProcess) -> None:
    for headers in ({}, {"Accept": "text/event-stream"}):
        status, content = await get(url(server), "/v1/events?workers=w,nobody", headers)
        assert status == 404
        assert "'nobody'" in orjson.loads(content)["error"]["message"]
    with pytest.raises(InvalidStatus) as refused:
        async with feed_at(url(server), "/v1/events/ws?workers=nobody"):
            pass
    assert refused.value.response.status_code == 404
    assert b"'nobody'" in refused.value.response.body


MALFORMED = {
    "workers=a/b": ("invalid_worker_id", "a/b"),
    "workers=": ("invalid_worker_id", "blank"),
    "workers=*&workers=w": ("invalid_query", "more than once"),
    f"workers={','.join(['w'] * 257)}": ("invalid_query", "256 is the most"),
    "cursor=nope": ("cursor_malformed", "nope"),
    "cursor=tail:x": ("invalid_query", "1000000"),
    "types=,": ("invalid_query", "types"),
}


@pytest.mark.parametrize("query", MALFORMED)
async def test_what_cannot_be_read_is_refused_on_every_transport(server: InProcess, query: str) -> None:
    code, named = MALFORMED[query]
    for headers in ({}, {"Accept": "text/event-stream"}):
        status, content = await get(url(server), f"/v1/events?{query}", headers)
        error = orjson.loads(content)["error"]
        assert (status, error["code"]) == (400, code)
        assert named in error["message"]
    if query.startswith("workers"):
        with pytest.raises(InvalidStatus) as refused:
            async with feed_at(url(server), f"/v1/events?{query}"):
                pass
        assert refused.value.response.status_code == 400
    else:
        async with feed_at(url(server), f"/v1/events?{query}") as feed:
            [told] = [frame async for frame in frames_of(feed)]
            assert named in told["message"]
            assert feed.close_code == 4400


async def test_a_cursor_that_cannot_be_honoured_is_told_with_its_reason(server: InProcess) -> None:
    lost = {"ahead": "wo_ffffffffffffffff", "generation": "wo_0000000000000001"}
    for reason, cursor in lost.items():
        path = f"/v1/events?workers=*&cursor={cursor}"
        for headers in ({}, {"Accept": "text/event-stream"}):
            status, content = await get(url(server), path, headers)
            told = orjson.loads(content)
            assert (status, told["reason"], told["requested"]) == (410, reason, cursor)
            assert "this runtime" in told["error"]["message"]
        async with feed_at(url(server), path) as feed:
            [told] = [frame async for frame in frames_of(feed)]
            assert (told["details"]["reason"], feed.close_code) == (reason, 4410)


async def test_what_retention_dropped_of_anybody_is_told_with_their_name() -> None:
    async with watched(retention=Retention(max_events=20), hosts=("127.0.0.1",)) as server:
        await create(server, "chatty")
        cursor = (await say(server, "w", "quiet"))["last"]
        await say(server, "chatty", *["x"] * 15)
        await say(server, "chatty", *["x"] * 15)
        path = f"/v1/events?cursor={cursor}"
        assert (await get(url(server), f"{path}&workers=w&wait_s=0"))[0] == 200
        status, content = await get(url(server), f"{path}&workers=*")
        told = orjson.loads(content)
        assert (status, told["reason"], told["worker_id"]) == (410, "retention", "chatty")
        async with feed_at(url(server), f"{path}&workers=*") as feed:
            [said] = [frame async for frame in frames_of(feed)]
            assert said["details"]["worker_id"] == "chatty"
        async with feed_at(url(server), f"{path}&workers=*&on_expired=snapshot") as feed:
            frames = frames_of(feed)
            kinds = [(await soon(anext(frames)))["kind"] for _ in range(4)]
            assert kinds == ["hello", "reset", "snapshot", "sync"]
        # What is complete can be had, and resumed from.
        status, content = await get(url(server), "/v1/events?workers=*&cursor=earliest")
        answer = orjson.loads(content)
        assert answer["events"][0]["prev"] == answer["oldest"]
        assert (await get(url(server), f"/v1/events?workers=*&cursor={answer['oldest']}"))[1] == content


async def test_the_snapshot_is_of_those_who_have_not_ended(server: InProcess) -> None:
    await create(server, "ended")
    await server.runtime.stop("ended")
    async with feed_at(url(server), "/v1/events/ws?workers=*") as feed:
        frames = frames_of(feed)
        hello, snapshot = await soon(anext(frames)), await soon(anext(frames))
    assert (hello["kind"], hello["workers"], hello["resumed_from"]) == ("hello", "*", "wo_0000000000000000")
    assert hello["replay_count"] == len(await logged(server, "w", "v", "ended"))
    assert snapshot["kind"] == "snapshot"
    assert [worker["worker_id"] for worker in snapshot["workers"]] == ["v", "w"]
    assert snapshot["workers_left_out"] == 0
    assert snapshot["runtime"]["worker_count"] == 3


@pytest.mark.parametrize("store", OPENERS)
async def test_a_quiet_feed_says_where_it_stands_and_answers_a_ping(store: str) -> None:
    async with (
        watched(bounds=SPEAKING_SOON, opener=OPENERS[store]) as server,
        feed_at(url(server), "/v1/events?workers=*&cursor=latest&snapshot=none") as feed,
    ):
        frames = frames_of(feed)
        told = [await soon(anext(frames)) for _ in range(3)]
        assert [frame["kind"] for frame in told] == ["hello", "sync", "bookmark"]
        assert told[2]["cursor"] == told[0]["as_of"]
        await feed.send('{"kind":"ping"}')
        assert (await soon(anext(frames)))["kind"] == "bookmark"


@pytest.mark.parametrize("server", ["memory"], indirect=True)
async def test_a_store_that_closes_tells_where_to_come_back(server: InProcess) -> None:
    async with feed_at(url(server), "/v1/events?workers=*&cursor=latest&snapshot=none") as feed:
        frames = frames_of(feed)
        await soon(anext(frames))
        await server.store.close()
        told = [frame async for frame in frames]
        assert [frame["kind"] for frame in told[-2:]] == ["bookmark", "diagnostic"]
        assert told[-1]["code"] == "runtime.upstream_closed"
        assert feed.close_code == 1012


async def test_only_version_2_is_spoken_here(server: InProcess) -> None:
    feed = connect(f"ws://127.0.0.1:{server.port}/v1/events", additional_headers=BEARER, proxy=None)
    with pytest.raises(InvalidStatus) as refused:
        async with feed:
            pass
    assert refused.value.response.status_code == 400
    assert SUBPROTOCOL.encode() in refused.value.response.body


async def test_the_same_rules_hold_as_for_any_feed(server: InProcess) -> None:
    assert (await server.ask("GET", "/v1/events", headers={})).status == 401
    answer = await server.ask("POST", "/v1/events", {})
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


async def test_one_observer_too_many_is_refused() -> None:
    async with watched(options=RuntimeOptions(observers_max=1)) as server:
        one = feed_at(url(server), "/v1/events?workers=*")
        async with one:
            assert (await server.ask("GET", "/v1/events")).status == 429


async def test_no_worker_can_speak_as_the_runtime(server: InProcess) -> None:
    answer = await server.ask("POST", "/v1/workers", {"worker_id": "runtime"})
    assert (answer.status, answer.code) == (400, "invalid_worker_id")


async def test_a_stream_gives_each_event_its_cursor(server: InProcess) -> None:
    await say(server, "w", LAST)
    seen: list[str] = []
    async for message in messages(url(server), "/v1/events?workers=w", {"Accept": "text/event-stream"}):
        seen.append(message.get("event", ""))
        if message.get("event") == LAST:
            assert message["id"] == orjson.loads(message["data"])["cursor"]
            break
    assert seen[:2] == ["feed.hello", "feed.snapshot"]


async def test_a_snapshot_of_workers_with_long_texts_has_as_many_as_an_observer_takes(
    server: InProcess,
) -> None:
    objective = "\x01" * TEXT_CHARS_MAX  # Six bytes of JSON each.
    for number in range(20):
        asked = {"worker_id": f"long{number}", "intent": {"kind": "task", "objective": objective}}
        await server.runtime.create_worker(decode(CreateWorkerRequest, orjson.dumps(asked)))
    async with feed_at(url(server), "/v1/events/ws?workers=*") as feed:
        await soon(feed.recv())
        text = await soon(feed.recv())
    snapshot = orjson.loads(text)
    shown = [worker["worker_id"] for worker in snapshot["workers"]]
    assert shown == [f"long{number}" for number in range(19, 19 - len(shown), -1)]
    assert len(shown) + snapshot["workers_left_out"] == 22
    assert SNAPSHOT_BYTES_MAX // 2 < len(text) < SNAPSHOT_BYTES_MAX + 4096
