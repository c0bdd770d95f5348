"""The long poll: an answer when there is something, an empty one in the end, and loss told aloud."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from watchglass.runtime import RuntimeOptions
from watchglass.server.events_path import asked_events_of, asks_for_stream
from watchglass.store.base import Retention

from support.inprocess import InProcess
from support.stores import OPENERS
from support.tasks import soon, until
from support.watched import create, produce, stop, watched

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]

EVENTS = "/v1/workers/w/events"


@pytest_asyncio.fixture(params=["memory", "fs-os"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    async with watched(opener=OPENERS[request.param], options=RuntimeOptions(observers_max=2)) as server:
        yield server


async def poll(server: InProcess, query: str = "") -> Json:
    answer = await soon(server.ask("GET", f"{EVENTS}{query}"))
    assert answer.status == 200, answer
    told: Json = answer.json
    assert set(told) == {"events", "next", "head", "oldest", "up_to_date", "ended"}
    return told


def texts(told: Json) -> list[str]:
    data = [envelope["payload"]["data"] for envelope in told["events"]]
    return [each["text"] for each in data if "text" in each]


async def test_an_answer_has_what_is_there_and_where_to_go_on(server: InProcess) -> None:
    cursors = await produce(server, *"abc")
    detail = server.runtime.worker("w")
    told = await poll(server, "?limit=4")
    assert texts(told) == ["a", "b"]
    assert (told["oldest"], told["head"]) == (detail.oldest, detail.head)
    assert (told["up_to_date"], told["ended"]) == (False, False)
    assert told["next"] == told["events"][-1]["cursor"]
    rest = await poll(server, f"?cursor={told['next']}")
    assert texts(rest) == ["c"]
    assert rest["events"][0]["prev"] == told["next"]
    assert (rest["next"], rest["up_to_date"]) == (cursors["last"], True)


async def test_a_poll_at_the_head_waits_for_the_next_event(server: InProcess) -> None:
    head = server.runtime.worker("w").head
    waiting = asyncio.create_task(poll(server, f"?cursor={head}"))
    await until(lambda: server.runtime.summary().observer_count > 0)
    await produce(server, "now")
    assert texts(await waiting) == ["now"]


async def test_a_poll_that_need_not_wait_is_answered_at_once(server: InProcess) -> None:
    head = server.runtime.worker("w").head
    for cursor in ("latest", head, "tail:0"):
        told = await poll(server, f"?cursor={cursor}&wait_s=0")
        assert told["events"] == []
        assert (told["next"], told["up_to_date"]) == (head, True)


async def test_a_filtered_poll_moves_on_past_what_does_not_pass(server: InProcess) -> None:
    await produce(server, *["no"] * 1000)
    wanted = await produce(server, "yes", name="mine")
    told = await poll(server, "?types=mine")
    assert texts(told) == ["yes"]
    assert told["events"][0]["prev"] == "wo_0000000000000000"
    assert told["next"] == wanted["last"]
    last = await produce(server, "no")
    told = await poll(server, f"?types=mine&wait_s=0&cursor={told['next']}")
    assert (told["events"], told["next"]) == ([], last["last"])


async def test_an_ended_worker_is_told_at_once(server: InProcess) -> None:
    await stop(server)
    told = await poll(server, "?cursor=latest")
    assert (told["ended"], told["up_to_date"], told["events"]) == (True, True, [])
    assert (await poll(server, "?limit=1"))["ended"] is False


async def test_the_envelopes_are_the_journals_bytes(server: InProcess) -> None:
    sent = {"event": "mine", "data": {"é": "\u2028", "n": -1e300, "big": 2**63}}
    await server.ask("POST", EVENTS, {"events": [sent]})
    async with server.runtime.observe("w", "earliest") as reader:
        lines = (await reader.next_batch()).lines
    content = (await server.ask("GET", EVENTS)).content
    for line in lines:
        assert line[:-1] + b',"prev":"wo_' in content


async def test_a_cursor_that_cannot_be_honoured_is_gone_with_what_a_reset_says(server: InProcess) -> None:
    await create(server, "other")
    await produce(server, "a")
    detail = server.runtime.worker("w")
    lost = {"ahead": "wo_ffffffffffffffff", "generation": server.runtime.worker("other").head}
    for reason, cursor in lost.items():
        for wish in ("close", "snapshot"):
            answer = await server.ask("GET", f"{EVENTS}?cursor={cursor}&on_expired={wish}")
            assert answer.status == 410
            error = answer.json.pop("error")
            assert {name: value for name, value in answer.json.items() if name != "error"} == {
                "kind": "reset",
                "reason": reason,
                "requested": cursor,
                "oldest": detail.oldest,
                "head": detail.head,
            }
            assert error["code"] == "cursor_unknown_or_expired"
    exposed = (await server.ask("GET", "/metrics")).content.decode()
    assert 'watchglass_feeds_closed_total{reason="cursor_unknown_or_expired"} 4.0' in exposed


async def test_a_cursor_that_retention_dropped_is_gone() -> None:
    async with watched(retention=Retention(max_events=10)) as server:
        first = await produce(server, "a")
        await produce(server, *map(str, range(50)))
        answer = await server.ask("GET", f"{EVENTS}?cursor={first['first']}")
        assert (answer.status, answer.json["reason"]) == (410, "retention")
        assert len((await poll(server))["events"]) == 10


MALFORMED = {
    "?cursor=nope": ("cursor_malformed", "nope"),
    "?cursor=tail:x": ("invalid_query", "1000000"),
    "?cursor=time:1": ("invalid_query", "RFC 3339"),
    "?wait_s=61": ("invalid_query", "wait_s='61': use a whole number from 0 to 60"),
    "?wait_s=-1": ("invalid_query", "wait_s"),
    "?wait_s=soon": ("invalid_query", "wait_s"),
    "?limit=0": ("invalid_query", "limit='0': use a whole number from 1 to 512"),
    "?limit=513": ("invalid_query", "limit"),
    "?limit=1&limit=2": ("invalid_query", "more than once"),
    "?types=,": ("invalid_query", "types"),
}


async def test_what_cannot_be_read_is_refused_by_name_value_and_bound(server: InProcess) -> None:
    for query, (code, named) in MALFORMED.items():
        answer = await server.ask("GET", f"{EVENTS}{query}")
        assert (answer.status, answer.code) == (400, code), query
        assert named in answer.json["error"]["message"]


async def test_access_is_checked_as_everywhere(server: InProcess) -> None:
    for headers, status in [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
    ]:
        assert (await server.ask("GET", EVENTS, None, headers)).status == status
    assert (await server.ask("GET", "/v1/workers/nobody/events")).status == 404
    assert (await server.ask("GET", "/v1/workers/a%20b/events")).status == 400
    put = await server.ask("PUT", EVENTS)
    assert (put.status, put.headers["allow"]) == (405, "GET, POST")


async def test_a_poll_is_an_observer_and_one_too_many_is_refused(server: InProcess) -> None:
    async with server.runtime.observe("w"), server.runtime.observe("w"):
        answer = await server.ask("GET", f"{EVENTS}?wait_s=0")
    assert (answer.status, answer.code) == (429, "resource_limit_exceeded")
    await poll(server, "?wait_s=0")


async def test_a_server_that_stops_answers_who_waits() -> None:
    async with watched() as server:
        head = server.runtime.worker("w").head
        waiting = asyncio.create_task(poll(server, "?cursor=latest&wait_s=60"))
        await until(lambda: server.runtime.summary().observer_count > 0)
        await server.store.close()
        told = await soon(waiting)
        assert (told["events"], told["next"]) == ([], head)
        await soon(server.app.feeds.wait_none_open())


async def test_who_leaves_while_waiting_is_forgotten(server: InProcess) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer let-me-in"
    writer.write(f"GET {EVENTS}?cursor=latest HTTP/1.1\r\n{head}\r\n\r\n".encode())
    await until(lambda: server.runtime.summary().observer_count > 0)
    writer.close()
    await writer.wait_closed()
    await soon(server.app.feeds.wait_none_open())


async def test_a_body_that_comes_with_a_poll_is_thrown_away(server: InProcess) -> None:
    answer = await server.ask("GET", f"{EVENTS}?wait_s=0", b"x" * 300_000)
    assert answer.status == 200


async def test_only_get_is_a_poll_and_only_the_whole_word_a_stream() -> None:
    def scope(method: str, path: str, accept: bytes = b"") -> dict[str, Any]:
        return {"type": "http", "method": method, "path": path, "headers": [(b"accept", accept)]}

    assert asked_events_of(scope("GET", EVENTS)) == "w"
    for other in (scope("POST", EVENTS), scope("GET", f"{EVENTS}/ws"), scope("GET", f"{EVENTS}\n")):
        assert asked_events_of(other) is None
    assert asks_for_stream(scope("GET", EVENTS, b"text/html, Text/Event-Stream;q=0.9"))
    for accept in (b"", b"*/*", b"text/event-streams", b"application/json"):
        assert not asks_for_stream(scope("GET", EVENTS, accept))


async def test_appending_by_the_same_path_goes_on(server: InProcess) -> None:
    cursors = await produce(server, "a")
    assert (
        orjson.loads((await server.ask("GET", f"{EVENTS}?cursor=tail:1")).content)["next"] == cursors["last"]
    )
