"""Server-sent events: ids to resume from, names and envelopes, and an end that says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from watchglass.runtime import RuntimeOptions
from watchglass.server.config import FeedBounds
from watchglass.store.base import Retention

from support.following import asked, messages
from support.inprocess import InProcess
from support.stores import OPENERS
from support.tasks import soon
from support.watched import SPEAKING_SOON, create, produce, stop, url, watched

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]
Message = dict[str, str]

EVENTS = "/v1/workers/w/events"
STREAM = {"Accept": "text/event-stream"}


@pytest_asyncio.fixture(params=["memory", "fs-os"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    opener = OPENERS[request.param]
    options = RuntimeOptions(observers_max=2)
    async with watched(opener=opener, options=options, hosts=("127.0.0.1",)) as server:
        yield server


def stream(server: InProcess, query: str = "", last: str | None = None) -> AsyncIterator[Message]:
    headers = STREAM if last is None else {**STREAM, "Last-Event-ID": last}
    return messages(url(server), f"{EVENTS}{query}", headers)


async def until(told: AsyncIterator[Message], event: str) -> list[Message]:
    """Messages up to the next of this name, with it."""
    taken: list[Message] = []
    while not taken or taken[-1].get("event") != event:
        taken.append(await soon(anext(told)))
    return taken


async def whole(told: AsyncIterator[Message]) -> list[Message]:
    async def collect() -> list[Message]:
        return [message async for message in told]

    return await soon(collect())


async def status(server: InProcess, query: str, headers: dict[str, str]) -> tuple[int, Any]:
    async with asked(url(server), f"{EVENTS}{query}", {**STREAM, **headers}) as answer:
        body = await answer.body()
        return answer.status, orjson.loads(body) if body else None


def texts(told: list[Message]) -> list[str]:
    data = [orjson.loads(message["data"]) for message in told if "data" in message]
    return [each["payload"]["data"].get("text") for each in data if "payload" in each]


async def test_a_stream_carries_an_id_before_any_event_and_then_the_events(server: InProcess) -> None:
    cursors = await produce(server, "a", "b")
    told = stream(server, f"?cursor={cursors['first']}")
    first = await until(told, "feed.sync")
    assert [message["event"] for message in first] == [
        "feed.hello",
        "feed.snapshot",
        "text_delta",
        "feed.sync",
    ]
    assert first[0]["id"] == cursors["first"]
    assert "id" not in first[1]
    assert first[2]["id"] == orjson.loads(first[2]["data"])["cursor"] == cursors["last"]
    assert orjson.loads(first[2]["data"])["prev"] == cursors["first"]
    assert orjson.loads(first[0]["data"])["kind"] == "hello"
    await produce(server, "live")
    assert texts(await until(told, "text_delta")) == ["live"]


async def test_last_event_id_beats_the_cursor(server: InProcess) -> None:
    cursors = await produce(server, "a", "b")
    told = stream(server, "?cursor=earliest", last=cursors["first"])
    assert texts(await until(told, "feed.sync")) == ["b"]


@pytest.mark.parametrize("store", ["memory", "fs-os"])
async def test_a_quiet_stream_moves_the_readers_place_by_comments(store: str) -> None:
    async with watched(bounds=SPEAKING_SOON, opener=OPENERS[store], hosts=("127.0.0.1",)) as server:
        told = stream(server, "?cursor=latest&types=never")
        before = (await until(told, "feed.sync"))[-1]["id"]
        head = (await produce(server, "passed by"))["last"]
        while (quiet := await soon(anext(told))) != {"id": head}:
            assert quiet == {"id": before}, "it was said before the event"


async def test_a_stream_ends_with_its_worker_and_its_reader_is_told_not_to_come_back(
    server: InProcess,
) -> None:
    told = stream(server)
    await until(told, "feed.sync")
    await stop(server)
    last = await whole(told)
    head = server.runtime.worker("w").head
    assert [message["event"] for message in last][-2:] == ["end", "feed.end"]
    assert last[-1]["id"] == head
    assert await status(server, "", {"Last-Event-ID": head}) == (204, None)
    assert (await whole(stream(server, f"?cursor={head}")))[-1]["event"] == "feed.end"


async def test_a_cursor_that_cannot_be_honoured_is_gone_before_the_stream(server: InProcess) -> None:
    await create(server, "other")
    await produce(server, "a")
    lost = {"ahead": "wo_ffffffffffffffff", "generation": server.runtime.worker("other").head}
    for reason, cursor in lost.items():
        code, said = await status(server, "", {"Last-Event-ID": cursor})
        assert (code, said["kind"], said["reason"]) == (410, "reset", reason)
        told = stream(server, "?on_expired=snapshot", last=cursor)
        first = await until(told, "feed.sync")
        names = [message["event"] for message in first]
        assert names == ["feed.hello", "feed.reset", "feed.snapshot", "feed.sync"]
        assert first[-1]["id"] == server.runtime.worker("w").head


async def test_a_reader_that_retention_overtakes_is_told_and_the_stream_ends() -> None:
    async with watched(retention=Retention(max_events=10), hosts=("127.0.0.1",)) as server:
        told = stream(server)
        await until(told, "feed.sync")
        async with server.runtime.observe("w"):
            await produce(server, *map(str, range(50)))
            last = (await whole(told))[-1]
        assert last["event"] == "feed.diagnostic"
        assert orjson.loads(last["data"])["code"] == "runtime.cursor_expired"


async def test_a_server_that_stops_says_when_to_come_back() -> None:
    async with watched(hosts=("127.0.0.1",)) as server:
        told = stream(server)
        await until(told, "feed.sync")
        await server.store.close()
        last = (await whole(told))[-1]
        assert last["event"] == "feed.diagnostic"
        assert orjson.loads(last["data"])["code"] == "runtime.upstream_closed"
        assert 250 <= int(last["retry"]) <= 2000
        assert last["id"] == server.runtime.worker("w").head
        await soon(server.app.feeds.wait_none_open())


async def test_names_that_no_line_can_have_are_told_in_one_line(server: InProcess) -> None:
    told = stream(server, "?cursor=latest")
    await until(told, "feed.sync")
    for name, shown in [("a\nb", "a b"), ('q"\\', 'q"\\'), ("é", "é"), (" x", " x")]:
        await produce(server, "said", name=name)
        message = await soon(anext(told))
        while "data" not in message:
            message = await soon(anext(told))
        assert message["event"] == shown
        assert orjson.loads(message["data"])["payload"]["event"] == name


async def test_what_cannot_be_read_and_who_may_not_are_refused_before_the_stream(server: InProcess) -> None:
    for query, headers, expected in [
        ("?cursor=nope", {}, (400, "cursor_malformed")),
        ("", {"Last-Event-ID": "nope"}, (400, "cursor_malformed")),
        ("?snapshot=x", {}, (400, "invalid_query")),
        ("", {"Authorization": "Bearer wrong"}, (401, "unauthorized")),
        ("", {"Origin": "https://evil.example"}, (403, "forbidden_origin")),
    ]:
        code, said = await status(server, query, headers)
        assert (code, said["error"]["code"]) == expected
    async with server.runtime.observe("w"), server.runtime.observe("w"):
        assert (await status(server, "", {}))[0] == 429


async def test_who_leaves_is_forgotten(server: InProcess) -> None:
    async with asked(url(server), EVENTS, STREAM) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        await anext(answer.chunks())
    await soon(server.app.feeds.wait_none_open())


async def test_who_takes_nothing_is_dropped() -> None:
    bounds = FeedBounds(stall_s=1.0, close_s=1.0)
    async with watched(bounds=bounds, hosts=("127.0.0.1",)) as server, asked(url(server), EVENTS, STREAM):
        while True:  # Until the sockets between us are full.
            await produce(server, *["x" * 60_000] * 17)
            exposed = (await server.ask("GET", "/metrics")).content.decode()
            if 'watchglass_feeds_closed_total{reason="stalled"} 1.0' in exposed:
                break
        assert server.runtime.summary().observer_count == 0


async def test_frames_and_bytes_are_counted_by_transport(server: InProcess) -> None:
    await produce(server, *"abc")
    await stop(server)
    await whole(stream(server))
    await asyncio.sleep(0)
    exposed = (await server.ask("GET", "/metrics")).content.decode()
    assert 'watchglass_feed_batch_events_sum{transport="sse"} 8.0' in exposed
    assert 'watchglass_feed_frames_total{transport="sse"} 5.0' in exposed
    assert 'watchglass_feed_bytes_total{transport="sse"}' in exposed
