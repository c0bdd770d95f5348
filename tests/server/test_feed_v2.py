"""The feed's version 2 on its socket: what is said, in which order, and every way in which it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from watchglass.protocol.feed_v2 import CLOSES, COMING_BACK, CloseCode, DiagnosticCode
from watchglass.protocol.frames import FeedDiagnosticCode
from watchglass.runtime import RuntimeOptions
from watchglass.server.config import FeedBounds
from watchglass.store.base import Retention

from support.certificates import self_signed, takes_openssl
from support.following import feed_v2, frames_of
from support.inprocess import InProcess
from support.patience import PATIENCE_S
from support.stores import OPENERS
from support.tasks import soon
from support.upgrading import upgraded
from support.watched import BOUNDS, SPEAKING_SOON, create, produce, stop, url, watched

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]


@pytest.fixture(params=[True, False], ids=["ready frames", "plain sends"])
def ready_frames(request: pytest.FixtureRequest) -> bool:
    """Both ways to send."""
    return bool(request.param)


@pytest.fixture(params=["ready frames", "plain sends", pytest.param("TLS", marks=takes_openssl)])
def way(request: pytest.FixtureRequest) -> str:
    """Every way to send."""
    return str(request.param)


@pytest_asyncio.fixture
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InProcess]:
    """A server that sends the test's way, if it has one; its parameter is other bounds than usual."""
    sends = request.getfixturevalue("way") if "way" in request.fixturenames else "ready frames"
    async with watched(
        bounds=replace(getattr(request, "param", BOUNDS), ready_frames=sends != "plain sends"),
        options=RuntimeOptions(observers_max=3),
        tls=self_signed(tmp_path_factory.mktemp("tls")).files if sends == "TLS" else None,
    ) as server:
        yield server


@pytest_asyncio.fixture(params=["memory", "fs-os"])
async def either(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    """A server over each kind of store."""
    async with watched(opener=OPENERS[request.param]) as server:
        yield server


async def frame(feed: ClientConnection) -> Json:
    told = await soon(feed.recv())
    said: Json = orjson.loads(told)
    return said


async def until(feed: ClientConnection, kind: str) -> list[Json]:
    """Frames up to the next one of this kind, with it."""
    told = [await frame(feed)]
    while told[-1]["kind"] != kind:
        told.append(await frame(feed))
    return told


async def whole(server: InProcess, query: str = "") -> tuple[list[Json], ClientConnection]:
    """Every frame of a feed that the server closes, and the closed feed."""
    async with feed_v2(url(server), "w", query) as feed:
        return await soon(collected(feed)), feed


async def collected(feed: ClientConnection) -> list[Json]:
    return [each async for each in frames_of(feed)]


def texts(frames: list[Json]) -> list[str]:
    return [
        envelope["payload"]["data"]["text"]
        for each in frames
        if each["kind"] == "events"
        for envelope in each["envelopes"]
        if "text" in envelope["payload"]["data"]
    ]


async def append(server: InProcess, *events: tuple[str, str]) -> None:
    """Texts under names, all at once."""
    said = [{"event": name, "data": {"text": text}} for name, text in events]
    assert (await server.ask("POST", "/v1/workers/w/events", {"events": said})).status == 200


def kinds(frames: list[Json]) -> list[str]:
    return [each["kind"] for each in frames]


async def test_a_feed_is_hello_snapshot_replay_sync_then_live(server: InProcess, way: str) -> None:
    last = await produce(server, "one", "two")
    async with feed_v2(url(server), "w") as feed:
        assert feed.subprotocol == "watchglass.feed.v2"
        told = await until(feed, "sync")
        assert kinds(told) == ["hello", "snapshot", "events", "sync"]
        hello, snapshot, replayed, sync = told
        assert hello["as_of"] == snapshot["as_of"] == sync["cursor"] == last["last"]
        assert hello["resumed_from"] == replayed["envelopes"][0]["prev"] == "wo_0000000000000000"
        assert hello["replay_count"] == len(replayed["envelopes"])
        assert replayed["replay"] is True
        await produce(server, "three")
        [live] = await until(feed, "events")
        assert live["replay"] is False
        assert live["envelopes"][0]["prev"] == last["last"]
        assert texts([*told, live]) == ["one", "two", "three"]


async def test_hello_says_where_a_reader_stands_and_what_it_may_count_on(server: InProcess) -> None:
    first = await produce(server, "one", "two", "three")
    async with feed_v2(url(server), "w", f"?cursor={first['first']}&types=end,text_delta") as feed:
        hello = await frame(feed)
    detail = server.runtime.worker("w")
    assert hello == {
        "kind": "hello",
        "as_of": first["last"],
        "requested": first["first"],
        "resumed_from": first["first"],
        "oldest": detail.oldest,
        "replay_count": 2,
        "retention": {"max_bytes": 32 << 20, "max_events": 200_000, "max_age_s": None},
        "filter": {"types": ["end", "text_delta"]},
        "heartbeat_s": 15.0,
        "durability": server.store.durability,
        "runtime_id": server.runtime.runtime_id,
        "worker_id": "w",
        "server_version": (await server.ask("GET", "/healthz")).json["version"],
    }


async def test_a_snapshot_has_what_is_open(server: InProcess) -> None:
    await produce(server, "half a")
    calls = [
        {"event": "tool_call_start", "data": {"id": "done", "name": "ls"}},
        {"event": "tool_call_start", "data": {"id": "open", "name": "cat"}},
        {"event": "tool_call_args_delta", "data": {"id": "open", "json": '{"path":'}},
        {"event": "tool_call_args_delta", "data": {"id": "open", "json": '"x'}},
        {"event": "tool_call_done", "data": {"id": "done", "name": "ls", "arguments": {}}},
    ]
    await server.ask("POST", "/v1/workers/w/events", {"events": calls})
    async with feed_v2(url(server), "w", "?cursor=latest") as feed:
        snapshot = (await until(feed, "snapshot"))[-1]
    assert snapshot["open"] == {
        "text": "half a",
        "tool_calls": [{"id": "open", "name": "cat", "arguments": '{"path":"x'}],
    }
    detail = server.runtime.worker("w").model_dump(mode="json")
    assert (snapshot["worker"], snapshot["transcript_len"]) == (detail, detail["transcript_len"])


async def test_a_snapshot_is_left_out_when_none_is_wanted(server: InProcess) -> None:
    async with feed_v2(url(server), "w", "?snapshot=none&cursor=latest") as feed:
        assert kinds([await frame(feed), await frame(feed)]) == ["hello", "sync"]


BEGINNINGS: dict[str, list[str]] = {
    "latest": [],
    "tail:0": [],
    "tail:2": ["c", "d"],
    "tail:1000000": [*"abcd"],
    "earliest": [*"abcd"],
}


async def test_a_reader_begins_where_it_says(either: InProcess) -> None:
    server = either
    await produce(server, *"abcd")
    for asked, heard in BEGINNINGS.items():
        async with feed_v2(url(server), "w", f"?cursor={asked}") as feed:
            told = await until(feed, "sync")
        assert texts(told) == heard
        assert told[0]["requested"] == asked


async def test_a_reader_may_begin_at_a_time_and_resume_from_where_that_was(either: InProcess) -> None:
    server = either
    await produce(server, "before")
    async with feed_v2(url(server), "w", "?cursor=latest") as feed:
        await until(feed, "sync")
        await produce(server, "a")
        ts = (await until(feed, "events"))[-1]["envelopes"][0]["ts"]
    await produce(server, "b")
    for asked in (f"time:{ts}", f"time:{ts.replace('Z', '%2B00:00')}"):
        async with feed_v2(url(server), "w", f"?cursor={asked}") as feed:
            told = await until(feed, "sync")
        assert texts(told) == ["a", "b"]
        async with feed_v2(url(server), "w", f"?cursor={told[0]['resumed_from']}") as feed:
            assert texts(await until(feed, "sync")) == ["a", "b"]


async def test_a_time_before_everything_is_everything_and_one_to_come_is_refused(server: InProcess) -> None:
    await produce(server, "a")
    async with feed_v2(url(server), "w", "?cursor=time:1900-01-01T00:00:00Z") as feed:
        assert texts(await until(feed, "sync")) == ["a"]
    told, feed = await whole(server, "?cursor=time:2999-01-01T00:00:00Z")
    assert told[0]["details"]["reason"] == "ahead"
    assert feed.close_code == CloseCode.EXPIRED


async def test_a_filter_lets_its_types_pass_and_the_chain_follows_what_was_sent(
    server: InProcess, way: str
) -> None:
    """Also when what does not pass is the last of what came at once."""
    async with feed_v2(url(server), "w", "?types=mine,end&cursor=latest") as feed:
        told = await until(feed, "sync")
        await produce(server, "not this")
        first = await produce(server, "this", name="mine")
        await append(server, ("mine", "and this"), ("text_delta", "nor this"))
        await append(server, ("text_delta", "nor that"), ("mine", "and that"), ("text_delta", "the last"))
        await stop(server)
        told += await soon(collected(feed))
    chain = [(e["prev"], e["cursor"]) for f in told if f["kind"] == "events" for e in f["envelopes"]]
    assert texts(told) == ["this", "and this", "and that"]
    assert chain[0][1] == first["first"]
    assert [prev for prev, _ in chain] == [told[0]["resumed_from"], *(cursor for _, cursor in chain[:-1])]
    assert told[-1] == {"kind": "end", "cursor": server.runtime.worker("w").head}


@pytest.mark.parametrize("server", [SPEAKING_SOON], indirect=True, ids=["speaking soon"])
@pytest.mark.parametrize("query", ["?cursor=latest", "?cursor=latest&types=never"])
async def test_a_quiet_feed_says_where_it_stands(server: InProcess, way: str, query: str) -> None:
    async with feed_v2(url(server), "w", query) as feed:
        await until(feed, "sync")
        before = head = server.runtime.worker("w").head
        assert (await frame(feed)) == {"kind": "bookmark", "cursor": head}
        if "types" in query:
            head = (await produce(server, "passed by"))["last"]
        while (told := await frame(feed)) != {"kind": "bookmark", "cursor": head}:
            assert told == {"kind": "bookmark", "cursor": before}, "it was said before the event"


@pytest.mark.parametrize("ping", ['{"kind":"ping"}', ' {"kind": "ping", "id": 7} '])
async def test_a_ping_is_answered_with_a_bookmark(ping: str, ready_frames: bool) -> None:
    async with watched(bounds=FeedBounds(close_s=1.0, ready_frames=ready_frames)) as server:
        last = await produce(server, "a")
        async with feed_v2(url(server), "w") as feed:
            await until(feed, "sync")
            await feed.send(ping)
            assert await frame(feed) == {"kind": "bookmark", "cursor": last["last"]}


async def test_pings_without_end_are_answered_in_order_while_events_flow(ready_frames: bool) -> None:
    async with (
        watched(bounds=FeedBounds(close_s=1.0, ready_frames=ready_frames)) as server,
        feed_v2(url(server), "w") as feed,
    ):
        position, bookmarks = "", 0
        for number in range(200):
            await feed.send('{"kind":"ping"}')
            if number % 20 == 0:
                await produce(server, *"abc")
        await stop(server)
        for told in await soon(collected(feed)):
            cursor = told["envelopes"][-1]["cursor"] if told["kind"] == "events" else told.get("cursor", "")
            assert cursor >= position or not cursor
            position = cursor or position
            bookmarks += told["kind"] == "bookmark"
        assert bookmarks >= 2


SAID: list[str | bytes] = [
    "",
    "ping",
    '{"kind":"pong"}',
    '["kind","ping"]',
    b'{"kind":"ping"}',
    '{"kind":"ping","pad":"%s"}' % ("x" * 200),
    "[" * 120,
    "x" * 200_000,
    b"\x00" * 70_000,
]


async def test_anything_else_that_an_observer_says_ends_the_feed(server: InProcess) -> None:
    for said in SAID:
        async with feed_v2(url(server), "w") as feed:
            await until(feed, "sync")
            await feed.send(said)
            told = await soon(collected(feed))
            assert kinds(told)[-2:] == ["bookmark", "diagnostic"], said[:20]
            assert told[-1]["code"] == "runtime.observation_only"
            assert feed.close_code == CloseCode.MALFORMED


async def test_a_message_without_end_is_not_gathered() -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "x" * 10_000

    async with watched() as server, feed_v2(url(server), "w") as feed:
        pieces = asyncio.create_task(feed.send(endless()))
        told = await soon(collected(feed))
        assert told[-1]["code"] == "runtime.observation_only"
        with pytest.raises(ConnectionClosed):
            await pieces


async def test_an_observer_that_breaks_the_protocol_is_told() -> None:
    async with watched() as server, feed_v2(url(server), "w") as feed:
        feed.transport.write(b"\x81\x02hi")  # Not masked, as a client's frames must be.
        told = await soon(collected(feed))
        assert told[-1]["code"] == "runtime.websocket_error"
        assert feed.close_code == CloseCode.MALFORMED


async def test_the_end_of_a_worker_is_said_and_closes_normally(server: InProcess, way: str) -> None:
    async with feed_v2(url(server), "w") as feed:
        await until(feed, "sync")
        await stop(server)
        told = await soon(collected(feed))
    head = server.runtime.worker("w").head
    assert told[-2:] == [{"kind": "bookmark", "cursor": head}, {"kind": "end", "cursor": head}]
    assert (feed.close_code, feed.close_reason) == (1000, f"ended at {head}")


async def test_a_feed_of_an_ended_worker_tells_what_is_asked_and_ends(server: InProcess) -> None:
    await produce(server, "a")
    await stop(server)
    head = server.runtime.worker("w").head
    for cursor in ("earliest", "latest", "tail:1", head):
        told, feed = await whole(server, f"?cursor={cursor}")
        assert told[-1] == {"kind": "end", "cursor": head}
        assert kinds(told).count("sync") == 1
        assert feed.close_code == CloseCode.ENDED


MALFORMED = [
    ("?cursor=nope", "cursor_malformed", "nope"),
    ("?cursor=", "cursor_malformed", "''"),
    ("?cursor=wo_1", "cursor_malformed", "wo_1"),
    ("?cursor=tail:-1", "query_malformed", "1000000"),
    ("?cursor=tail:1000001", "query_malformed", "1000000"),
    ("?cursor=time:yesterday", "query_malformed", "RFC 3339"),
    ("?cursor=a&cursor=b", "query_malformed", "more than once"),
    ("?types=", "query_malformed", "types"),
    ("?types=a,,b", "query_malformed", "128"),
    ("?on_expired=panic", "query_malformed", "close, snapshot"),
    ("?snapshot=always", "query_malformed", "auto, none"),
]


async def test_a_query_that_cannot_be_read_names_what_is_wrong(server: InProcess) -> None:
    for query, code, names in MALFORMED:
        told, feed = await whole(server, query)
        assert (kinds(told), query) == (["diagnostic"], query)
        assert told[0]["code"] == f"runtime.{code}"
        assert names in told[0]["message"]
        assert feed.close_code == CloseCode.MALFORMED


async def lost_cursors(server: InProcess) -> dict[str, str]:
    """A cursor for each reason why one cannot be honoured."""
    await create(server, "other")
    await produce(server, "a")
    return {"ahead": "wo_ffffffffffffffff", "generation": server.runtime.worker("other").head}


async def test_a_cursor_that_cannot_be_honoured_closes_the_feed_with_all_facts(either: InProcess) -> None:
    for reason, cursor in (await lost_cursors(either)).items():
        told, feed = await whole(either, f"?cursor={cursor}")
        detail = either.runtime.worker("w")
        assert kinds(told) == ["diagnostic"]
        assert told[0]["code"] == "runtime.cursor_unknown_or_expired"
        assert told[0]["details"] == {
            "reason": reason,
            "requested": cursor,
            "oldest": detail.oldest,
            "head": detail.head,
        }
        assert feed.close_code == CloseCode.EXPIRED


@pytest.mark.parametrize("reason", ["ahead", "generation"])
@pytest.mark.parametrize("wish", ["auto", "none"])
async def test_or_it_is_reset_with_a_snapshot_and_goes_on_live(
    server: InProcess, reason: str, wish: str
) -> None:
    cursor = (await lost_cursors(server))[reason]
    detail = server.runtime.worker("w")
    async with feed_v2(url(server), "w", f"?cursor={cursor}&on_expired=snapshot&snapshot={wish}") as feed:
        told = await until(feed, "sync")
        assert kinds(told) == ["hello", "reset", "snapshot", "sync"]
        assert told[1] == {
            "kind": "reset",
            "reason": reason,
            "requested": cursor,
            "oldest": detail.oldest,
            "head": detail.head,
        }
        assert told[0]["resumed_from"] == told[2]["as_of"] == told[3]["cursor"] == detail.head
        await produce(server, "after")
        live = (await until(feed, "events"))[-1]
    assert texts([live]) == ["after"]
    assert live["envelopes"][0]["prev"] == detail.head
    exposed = (await server.ask("GET", "/metrics")).content.decode()
    assert f'watchglass_feed_resets_total{{reason="{reason}"}} 1.0' in exposed


async def overtaken(server: InProcess, query: str) -> tuple[list[Json], ClientConnection]:
    """A reader that the log runs away from before it takes a turn."""
    async with server.runtime.observe("w"), feed_v2(url(server), "w", f"?cursor=earliest{query}") as feed:
        await until(feed, "sync")
        await produce(server, *map(str, range(50)))
        if "snapshot" not in query:
            return await soon(collected(feed)), feed
        told = await until(feed, "bookmark")
        await produce(server, "after")
        return [*told, *await until(feed, "events")], feed


async def test_a_reader_that_retention_overtakes_is_told_where_it_stood() -> None:
    async with watched(retention=Retention(max_events=10)) as server:
        told, feed = await overtaken(server, "")
        assert kinds(told) == ["bookmark", "diagnostic"]
        assert told[-1]["code"] == "runtime.cursor_expired"
        assert told[-1]["details"]["requested"] == told[0]["cursor"]
        assert feed.close_code == CloseCode.EXPIRED


async def test_or_goes_on_after_a_reset_and_a_snapshot_without_a_second_sync() -> None:
    async with watched(retention=Retention(max_events=10)) as server:
        told, _ = await overtaken(server, "&on_expired=snapshot")
        assert kinds(told) == ["reset", "snapshot", "bookmark", "events"]
        assert told[0]["reason"] == "retention"
        assert told[0]["head"] == told[1]["as_of"] == told[2]["cursor"] == told[3]["envelopes"][0]["prev"]
        assert texts(told) == ["after"]


async def test_a_cursor_that_retention_dropped_is_lost_to_it() -> None:
    async with watched(retention=Retention(max_events=10)) as server:
        first = await produce(server, "a")
        await produce(server, *map(str, range(50)))
        for query in (f"?cursor={first['first']}", "?cursor=time:1999-01-01T00:00:00Z"):
            told, _ = await whole(server, query)
            assert told[-1]["details"]["reason"] == "retention"


async def test_a_server_that_stops_says_where_a_feed_stood_and_when_to_come_back(
    ready_frames: bool,
) -> None:
    bounds = replace(BOUNDS, ready_frames=ready_frames)
    async with watched(bounds=bounds) as server, feed_v2(url(server), "w") as feed:
        last = await produce(server, "a")
        await until(feed, "sync")
        await server.store.close()
        told = [each for each in await soon(collected(feed)) if each["kind"] != "events"]
        assert told[-2] == {"kind": "bookmark", "cursor": last["last"]}
        assert told[-1]["code"] == "runtime.upstream_closed"
        assert 250 <= told[-1]["retry_after_ms"] <= 2000
        assert feed.close_code == CloseCode.RESTARTING


async def test_a_worker_that_is_not_there_and_one_observer_too_many_are_refused_before_the_upgrade(
    server: InProcess,
) -> None:
    for worker_id, status in [("nobody", 404), ("a%20b", 400)]:
        with pytest.raises(InvalidStatus) as refused:
            await feed_v2(url(server), worker_id)
        assert refused.value.response.status_code == status
    async with feed_v2(url(server), "w"), feed_v2(url(server), "w"), feed_v2(url(server), "w"):
        with pytest.raises(InvalidStatus) as refused:
            await feed_v2(url(server), "w")
        assert refused.value.response.status_code == 429


async def test_an_observer_that_takes_nothing_is_told_so_if_it_wakes_in_time() -> None:
    async with watched(bounds=FeedBounds(stall_s=3.0, close_s=PATIENCE_S)) as server:
        stuck = await upgraded(server, "/v1/workers/w/events/ws", "chat, watchglass.feed.v2")
        while server.runtime.summary().observer_count < 1:  # noqa: ASYNC110 - nobody tells.
            await asyncio.sleep(0.01)
        connection = next(iter(server.connections._open))
        for _ in range(8):
            await produce(server, *["x" * 60_000] * 17)
        while not connection.stalled:  # noqa: ASYNC110 - nobody tells.
            await asyncio.sleep(0.01)
        code = int(CloseCode.STALLED).to_bytes(2)
        taken = await soon(everything(stuck, b'"code":"runtime.stalled"', code))
        assert b'"code":"runtime.stalled"' in taken
        assert taken[taken.rindex(b'"code":"runtime.stalled"') :].count(code) == 1
        stuck.close()


async def everything(observer: socket.socket, said: bytes, closing: bytes) -> bytes:
    """What comes up to the end; told this, and closed so behind it, the observer leaves too."""
    taken, has_left = bytearray(), False
    while piece := await asyncio.get_running_loop().sock_recv(observer, 1 << 20):
        taken += piece
        place = taken.rfind(said)
        if not has_left and place >= 0 and closing in taken[place:]:
            observer.shutdown(socket.SHUT_WR)
            has_left = True
    return bytes(taken)


async def test_a_frame_has_many_events_and_never_over_the_bounds(server: InProcess) -> None:
    for _ in range(3):
        await produce(server, *"x" * 1000)
    await produce(server, *["y" * 1000] * 1000)
    async with feed_v2(url(server), "w") as feed:
        told = [each for each in await until(feed, "sync") if each["kind"] == "events"]
    sizes = [len(each["envelopes"]) for each in told]
    assert sum(sizes) == 4002
    assert max(sizes) == 512
    for each in told:
        assert sum(len(orjson.dumps({**e, "prev": None})) for e in each["envelopes"]) < (256 << 10) + 8192


async def test_version_1_is_served_to_whoever_does_not_ask_for_2(server: InProcess) -> None:
    async with server.watch("w", "?cursor=earliest") as feed:
        assert feed.subprotocol is None
        assert orjson.loads(await feed.recv())["envelope"]["payload"]["event"] == "snapshot"


async def test_many_at_the_head_are_sent_the_same_bytes() -> None:
    async with watched() as server:
        feeds = [await feed_v2(url(server), "w") for _ in range(5)]
        for feed in feeds:
            await until(feed, "sync")
        await produce(server, *"abc")
        said = [await soon(feed.recv()) for feed in feeds]
        assert len(set(said)) == 1
        for feed in feeds:
            await feed.close()
        await soon(server.app.feeds.wait_none_open())
        exposed = (await server.ask("GET", "/metrics")).content.decode()
        assert 'watchglass_feed_batch_events_bucket{le="4.0",transport="websocket_v2"} 10.0' in exposed


async def test_every_diagnostic_has_a_close_code_and_every_code_says_whether_to_come_back() -> None:
    assert set(CLOSES) == set(DiagnosticCode)
    assert set(COMING_BACK) == set(CloseCode)
    assert set(FeedDiagnosticCode) <= set(DiagnosticCode)
