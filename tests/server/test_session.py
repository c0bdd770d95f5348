"""A session on its socket: every command as over HTTP, feeds in turns, and every way in which it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from watchglass.protocol.session import (
    ABSENT,
    CLOSES,
    COMMANDS_MAX,
    FRAME_BYTES_MAX,
    METHODS,
    ROUTE,
    SUBPROTOCOL,
    SUBSCRIPTIONS_MAX,
    EndCode,
)
from watchglass.server.commands import COMMANDS
from watchglass.server.config import FeedBounds

from support.inprocess import BEARER, InProcess
from support.patience import PATIENCE_S
from support.peers import Peer, names, peer, session
from support.tasks import soon, until
from support.upgrading import upgrade_head, upgraded
from support.watched import BOUNDS, SPEAKING_SOON, create, produce, stop, url, watched

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]


@pytest_asyncio.fixture(params=[True, False], ids=["ready frames", "plain sends"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    """A server that sends either way."""
    async with watched(bounds=replace(SPEAKING_SOON, ready_frames=request.param)) as server:
        yield server


@pytest_asyncio.fixture(params=[True, False], ids=["ready frames", "plain sends"])
async def roomy(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    """The same for many feeds: they speak seldom when they are quiet, and may be read late."""
    async with watched(bounds=FeedBounds(close_s=1.0, stall_s=3600.0, ready_frames=request.param)) as server:
        yield server


@pytest_asyncio.fixture
async def backend(server: InProcess) -> AsyncIterator[Peer]:
    async with peer(url(server)) as backend:
        yield backend


async def test_every_method_that_is_named_is_there() -> None:
    assert list(COMMANDS) == list(METHODS)
    assert not set(METHODS) & set(ABSENT)


# What REST refuses, and what is refused here: (method, params, HTTP method, path, body).
REFUSED: dict[str, tuple[str, Json, str, str, Any]] = {
    "no such worker": ("workers.get", {"worker_id": "x"}, "GET", "/v1/workers/x", None),
    "no id": ("workers.get", {"worker_id": "a b"}, "GET", "/v1/workers/a%20b", None),
    "wrong type": (
        "workers.input",
        {"worker_id": "w", "content": 5},
        "POST",
        "/v1/workers/w/input",
        {"content": 5},
    ),
    "nothing": ("workers.input", {"worker_id": "w"}, "POST", "/v1/workers/w/input", {}),
    "too long": (
        "workers.input",
        {"worker_id": "w", "content": "x" * 300_000},
        "POST",
        "/v1/workers/w/input",
        {"content": "x" * 300_000},
    ),
    "a query over its bound": ("workers.list", {"limit": 0}, "GET", "/v1/workers?limit=0", None),
    "a word that is none": ("workers.list", {"status": "up"}, "GET", "/v1/workers?status=up", None),
    "a label": ("workers.list", {"label": ["a"]}, "GET", "/v1/workers?label=a", None),
    "a signal": (
        "workers.signal",
        {"worker_id": "w", "signal": "SIGNONE"},
        "POST",
        "/v1/workers/w/signal",
        {"signal": "SIGNONE"},
    ),
    "an event of the runtime's": (
        "workers.append_events",
        {"worker_id": "w", "events": [{"event": "end"}]},
        "POST",
        "/v1/workers/w/events",
        {"events": [{"event": "end"}]},
    ),
    "an id that is taken": (
        "workers.create",
        {"worker_id": "w"},
        "POST",
        "/v1/workers",
        {"worker_id": "w"},
    ),
    "one that has not ended": ("workers.remove", {"worker_id": "w"}, "DELETE", "/v1/workers/w", None),
    "no such task": ("tasks.get", {"task_id": "w"}, "GET", "/api/v1/tasks/w", None),
    "a task without a program": ("tasks.submit", {}, "POST", "/api/v1/tasks", {}),
    "a wait over its bound": (
        "tasks.get",
        {"task_id": "w", "wait_ms": 60_001},
        "GET",
        "/api/v1/tasks/w?wait_ms=60001",
        None,
    ),
    "a window over its bound": (
        "workers.transcript",
        {"worker_id": "w", "limit": 1 << 40},
        "GET",
        f"/v1/workers/w/transcript?limit={1 << 40}",
        None,
    ),
    "a cursor of another runtime": (
        "runtime.events",
        {"cursor": "{}"},
        "GET",
        "/v1/events/batch?cursor=%7B%7D",
        None,
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_a_refusal_has_the_status_and_the_words_of_http(
    server: InProcess, backend: Peer, case: tuple[str, Json, str, str, Any]
) -> None:
    method, params, http_method, path, body = case
    refused = await backend.ask(method, **params)
    over_http = await server.ask(http_method, path, body)
    assert (refused["status"], refused["error"]) == (over_http.status, over_http.json["error"])
    assert "result" not in refused


# What both answer, but for times and counts: (method, params, path).
ANSWERED: dict[str, tuple[str, Json, str]] = {
    "runtime.get": ("runtime.get", {}, "/v1/runtime"),
    "runtime.resources": ("runtime.resources", {}, "/v1/runtime/resources"),
    "runtime.capabilities": ("runtime.capabilities", {}, "/v1/runtime/capabilities"),
    "runtime.diagnostics": ("runtime.diagnostics", {}, "/v1/diagnostics"),
    "runtime.events": ("runtime.events", {"limit": 2}, "/v1/events/batch?limit=2"),
    "runtime.health": ("runtime.health", {}, "/healthz"),
    "runtime.ready": ("runtime.ready", {}, "/readyz"),
    "workers.list": ("workers.list", {"status": "running", "limit": 1}, "/v1/workers?status=running&limit=1"),
    "workers.get": ("workers.get", {"worker_id": "w"}, "/v1/workers/w"),
    "workers.transcript": ("workers.transcript", {"worker_id": "w"}, "/v1/workers/w/transcript"),
    "workers.explain": ("workers.explain", {"worker_id": "w"}, "/v1/workers/w/explain"),
    "tasks.list": ("tasks.list", {}, "/api/v1/tasks"),
    "tasks.runtime_info": ("tasks.runtime_info", {}, "/api/v1/runtime/info"),
    "tasks.runtime_capabilities": ("tasks.runtime_capabilities", {}, "/api/v1/runtime/capabilities"),
    "tasks.runtime_config": ("tasks.runtime_config", {}, "/api/v1/runtime/config"),
    "tasks.runtime_resources": ("tasks.runtime_resources", {}, "/api/v1/runtime/resources"),
}


@pytest.mark.parametrize("case", ANSWERED.values(), ids=ANSWERED)
async def test_an_answer_is_the_body_that_http_answers_with(
    server: InProcess, backend: Peer, case: tuple[str, Json, str]
) -> None:
    method, params, path = case
    answer = await backend.ask(method, **params)
    over_http = await server.ask("GET", path)
    assert answer["status"] == over_http.status
    assert unmoving(answer["result"]) == unmoving(over_http.json)


async def test_a_worker_lives_from_its_creation_to_its_removal(server: InProcess, backend: Peer) -> None:
    once = {"worker_id": "v", "idempotency_key": "once"}
    created = await backend.ask("workers.create", **once)
    assert (await backend.ask("workers.create", **once))["result"] == created["result"]
    ack = (await backend.ask("workers.input", worker_id="v", content="hello"))["result"]["ack"]
    appended = await backend.ask(
        "workers.append_events", worker_id="v", events=[{"event": "text_done", "data": {"text": "hi"}}]
    )
    assert appended["result"]["first"] == appended["result"]["last"] > ack["event_id"]
    said = await backend.ask("workers.transcript", worker_id="v")
    assert [item["content"] for item in said["result"]["transcript"]["items"]] == ["hello", "hi"]
    assert (await backend.ask("workers.stop", worker_id="v"))["result"]["ack"]["status"] == "stopped"
    removed = await backend.ask("workers.remove", worker_id="v")
    assert (removed["status"], removed["result"]) == (204, None)
    assert (await backend.ask("workers.get", worker_id="v"))["status"] == 404


async def test_a_task_is_submitted_and_awaited(backend: Peer) -> None:
    execution = {"kind": "command", "program": "echo", "args": ["hi"]}
    submitted = await backend.ask("tasks.submit", execution=execution)
    task_id = submitted["result"]["task_id"]
    ended = await backend.ask("tasks.get", task_id=task_id, wait_ms=10_000)
    assert (ended["result"]["status"], ended["result"]["stdout"]) == ("success", "hi\n")
    events = await backend.ask("tasks.events", task_id=task_id)
    assert events["result"][0]["task_id"] == task_id


async def test_commands_are_answered_as_they_are_done(backend: Peer) -> None:
    execution = {"kind": "command", "program": "sleep", "args": ["60"]}
    task_id = (await backend.ask("tasks.submit", execution=execution))["result"]["task_id"]
    await backend.say(
        kind="request", id="slow", method="tasks.get", params={"task_id": task_id, "wait_ms": 60_000}
    )
    await backend.say(kind="request", id="quick", method="runtime.get")
    assert (await backend.frame())["id"] == "quick"
    await backend.say(kind="request", id="end", method="tasks.kill", params={"task_id": task_id})
    assert {(await backend.frame())["id"], (await backend.frame())["id"]} == {"slow", "end"}


async def test_every_frame_of_a_pipeline_is_answered_once_and_inputs_keep_their_order(backend: Peer) -> None:
    for number in range(200):
        await backend.say(
            kind="request",
            id=number,
            method="workers.input",
            params={"worker_id": "w", "content": f"input {number}"},
        )
    answers = [await backend.frame() for _ in range(200)]
    assert sorted(answer["id"] for answer in answers) == list(range(200))
    assert {answer["status"] for answer in answers} == {200}
    said = await backend.ask("workers.transcript", worker_id="w")
    assert [item["content"] for item in said["result"]["transcript"]["items"]] == [
        f"input {number}" for number in range(200)
    ]


async def test_a_number_over_64_bits_is_kept_exactly(server: InProcess, backend: Peer) -> None:
    number = 123456789012345678901234567890
    await backend.socket.send(
        '{"kind":"request","id":1,"method":"workers.append_events","params":'
        f'{{"worker_id":"w","events":[{{"event":"big","data":{{"n":{number}}}}}]}}}}'
    )
    assert (await backend.answer(1))["status"] == 200
    await backend.say(kind="subscribe", id="s", worker_id="w", cursor="tail:1", snapshot="none")
    while f'"n":{number}' not in (text := await soon(backend.socket.recv())):
        assert "sync" not in str(text)


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
async def test_what_is_no_number_of_json_is_refused_and_the_session_goes_on(
    backend: Peer, number: str
) -> None:
    await backend.socket.send(
        '{"kind":"request","id":1,"method":"workers.append_events","params":'
        f'{{"worker_id":"w","events":[{{"event":"x","data":{{"n":{number}}}}}]}}}}'
    )
    refused = await backend.answer(1)
    assert (refused["status"], refused["error"]["code"]) == (400, "invalid_json")
    assert (await backend.ask("runtime.health"))["status"] == 200


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"method": "workers.fly"}, 404, "unknown_method"),
        ({"method": "workers.export", "params": {"worker_id": "w"}}, 405, "not_on_session"),
        ({"method": 5}, 400, "invalid_request"),
        ({}, 400, "invalid_request"),
        ({"method": "runtime.get", "params": [1]}, 400, "invalid_request"),
        ({"method": "workers.get"}, 400, "invalid_request"),
        ({"method": "workers.get", "params": {"worker_id": 5}}, 400, "invalid_request"),
        ({"method": "workers.create", "params": {"idempotency_key": " "}}, 400, "invalid_request"),
    ],
)
async def test_what_has_an_id_is_answered_whatever_it_is(
    backend: Peer, said: Json, status: int, code: str
) -> None:
    await backend.say(kind="request", id="a", **said)
    refused = await backend.answer("a")
    assert (refused["status"], refused["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no json",
        "[1]",
        "{}",
        '{"kind":"fly","id":1}',
        '{"kind":"request","method":"runtime.get"}',
        '{"kind":"request","id":null,"method":"runtime.get"}',
        '{"kind":"request","id":true,"method":"runtime.get"}',
        '{"kind":"request","id":9007199254740992,"method":"runtime.get"}',
        '{"kind":"subscribe","worker_id":"w"}',
        '{"kind":"request","id":"' + "x" * 129 + '","method":"runtime.get"}',
        b'{"kind":"request","id":1,"method":"runtime.get"}',
        "x" * (FRAME_BYTES_MAX + 1),
        "é" * (FRAME_BYTES_MAX // 2 + 1),
    ],
    ids=lambda said: repr(said[:50]),
)
async def test_what_has_no_id_ends_the_session_with_a_reason(backend: Peer, said: str | bytes) -> None:
    await backend.socket.send(said)
    last, code, reason = await backend.last_words()
    assert (last["kind"], last["code"]) == ("diagnostic", "runtime.session_malformed")
    assert code == CLOSES[EndCode.MALFORMED] == 4400
    assert reason
    assert last["message"].startswith(reason)


async def test_every_body_that_fits_http_fits_here(server: InProcess, backend: Peer) -> None:
    events = [{"event": "text_delta", "data": {"text": "x" * 60_000}}] * 17
    body = orjson.dumps({"events": events})
    assert (1 << 20) - 32_768 < len(body) <= 1 << 20
    assert (await server.ask("POST", "/v1/workers/w/events", body)).status == 200
    assert (await backend.ask("workers.append_events", worker_id="w", events=events))["status"] == 200


async def test_a_text_may_come_in_pieces(backend: Peer) -> None:
    await backend.socket.send(iter(['{"kind":"request",', '"id":1,"method":', '"runtime.health"}']))
    assert (await backend.answer(1))["status"] == 200


async def test_a_subscription_tells_what_a_feed_of_its_own_would(server: InProcess, backend: Peer) -> None:
    await produce(server, *"abc")
    await backend.say(kind="subscribe", id="s", worker_id="w", cursor="earliest")
    assert (await backend.answer("s"))["result"] == {"subscription": "s"}
    told = await backend.until("sync", "s")
    assert [frame["kind"] for frame in told] == ["hello", "snapshot", "events", "sync"]
    assert {frame["worker_id"] for frame in told} == {"w"}
    assert names(told)[-3:] == ["a", "b", "c"]
    await produce(server, "d")
    assert names(await backend.until("events", "s")) == ["d"]
    await backend.until("bookmark", "s")
    await stop(server)
    assert (await backend.until("end", "s"))[-1]["cursor"]
    await backend.say(kind="unsubscribe", id=1, subscription="s")
    assert (await backend.answer(1))["status"] == 400


async def test_two_subscriptions_on_one_worker_are_two_feeds(server: InProcess, backend: Peer) -> None:
    await backend.say(kind="subscribe", id=1, worker_id="w", cursor="latest", types=["text_done"])
    await backend.say(kind="subscribe", id="1", worker_id="w", cursor="latest")
    await backend.until("sync", 1)
    await backend.until("sync", "1")
    await produce(server, "heard by one")
    await produce(server, "heard by both", name="text_done")
    assert names(await backend.until("events", 1)) == ["heard by both"]
    assert names([frame for frame in backend.told if frame.get("subscription") == "1"])[0] == "heard by one"


async def test_an_id_that_is_open_is_refused_and_free_after_its_end(backend: Peer) -> None:
    await backend.say(kind="subscribe", id="s", worker_id="w")
    await backend.until("sync", "s")
    await backend.say(kind="subscribe", id="s", worker_id="w")
    assert (await backend.answer("s"))["error"]["code"] == "invalid_request"
    await backend.say(kind="unsubscribe", id="u", subscription="s")
    assert (await backend.answer("u"))["result"]["cursor"].startswith("wo_")
    await backend.say(kind="subscribe", id="s", worker_id="w")
    await backend.until("sync", "s")


async def test_what_a_subscription_was_told_ends_with_the_cursor_that_unsubscribing_answers(
    server: InProcess, backend: Peer
) -> None:
    await produce(server, *[str(number) for number in range(3000)])
    await backend.say(kind="subscribe", id="s", worker_id="w", snapshot="none")
    await backend.say(kind="unsubscribe", id="u", subscription="s")
    joined = await backend.answer("s")
    answer = next((each for each in backend.told if each.get("id") == "u"), None) or await backend.answer("u")
    assert joined["status"] in {200, 400}
    told = [frame for frame in backend.told if frame.get("subscription") == "s" and "envelopes" in frame]
    at = answer["result"]["cursor"]
    if told:
        assert told[-1]["envelopes"][-1]["cursor"] == at
    await backend.say(kind="subscribe", id="s", worker_id="w", cursor=at or "earliest", snapshot="none")
    rest = await backend.until("sync", "s")
    assert [text for text in names(told) + names(rest) if text.isdigit()] == [
        str(number) for number in range(3000)
    ]


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({"worker_id": "x"}, None),
        ({"cursor": "wo_0000000000000001"}, "cursor=wo_0000000000000001"),
        ({"cursor": "wo_7fffffffffffffff"}, "cursor=wo_7fffffffffffffff"),
        ({"cursor": "yesterday"}, "cursor=yesterday"),
        ({"types": ","}, "types=,"),
        ({"on_expired": "cry"}, "on_expired=cry"),
    ],
)
async def test_a_subscription_is_refused_as_a_long_poll_is(
    server: InProcess, backend: Peer, asked: Json, query: str | None
) -> None:
    await backend.say(kind="subscribe", id="s", **{"worker_id": "w", **asked})
    refused = await backend.answer("s")
    worker_id = asked.get("worker_id", "w")
    over_http = await server.ask("GET", f"/v1/workers/{worker_id}/events?wait_s=0&{query or ''}")
    assert refused["status"] == over_http.status
    told = {name: value for name, value in over_http.json.items() if name != "kind"}
    assert {name: refused[name] for name in told} == told


async def test_512_subscriptions_are_served_on_one_connection(roomy: InProcess) -> None:
    for number in range(512):
        await create(roomy, f"w{number}")
    async with peer(url(roomy)) as backend:
        await _served_all(backend)


async def _served_all(backend: Peer) -> None:
    """Each of the workers is subscribed to, and what it is told to say comes."""
    for number in range(512):
        await backend.say(kind="subscribe", id=number, worker_id=f"w{number}", snapshot="none")
    synced: set[int] = set()
    while len(synced) < 512:
        frame = await backend.frame()
        if frame["kind"] == "sync":
            synced.add(frame["subscription"])
    for number in range(512):
        await backend.say(
            kind="request",
            id=f"r{number}",
            method="workers.append_events",
            params={"worker_id": f"w{number}", "events": [{"event": "mark", "data": {"n": number}}]},
        )
    marks: dict[int, int] = {}
    while len(marks) < 512:
        frame = await backend.frame()
        for envelope in frame.get("envelopes", []):
            assert envelope["worker_id"] == frame["worker_id"] == f"w{frame['subscription']}"
            assert marks.setdefault(frame["subscription"], envelope["payload"]["data"]["n"]) is not None
    assert marks == {number: number for number in range(512)}


async def test_one_subscription_too_many_is_refused(roomy: InProcess) -> None:
    async with peer(url(roomy)) as backend:
        for number in range(SUBSCRIPTIONS_MAX + 1):
            await backend.say(kind="subscribe", id=number, worker_id="w", snapshot="none", cursor="latest")
        refused = await backend.answer(SUBSCRIPTIONS_MAX)
    assert (refused["status"], refused["error"]["code"]) == (429, "resource_limit_exceeded")
    assert refused["retry_after_s"] == 1


async def test_a_chatty_worker_delays_a_quiet_one_by_no_more_than_a_batch_a_turn(
    server: InProcess, backend: Peer
) -> None:
    for _ in range(5):
        await produce(server, *["x" * 100] * 2000)
    await create(server, "quiet")
    await backend.say(kind="subscribe", id="chatty", worker_id="w", snapshot="none")
    await backend.say(kind="subscribe", id="quiet", worker_id="quiet", snapshot="none")
    await backend.until("sync", "quiet")
    said = [frame["subscription"] for frame in backend.told if frame["kind"] in {"hello", "events"}]
    begins, ends = said.index("quiet"), len(said) - said[::-1].index("quiet")
    assert said[begins:ends].count("chatty") <= 2
    assert said.count("chatty") < 10
    await backend.until("sync", "chatty")
    assert [frame.get("subscription") for frame in backend.told].count("chatty") > 20


async def test_two_chatty_workers_take_turns(server: InProcess, backend: Peer) -> None:
    await create(server, "v")
    events = [{"event": "text_delta", "data": {"text": "x" * 100}}] * 2000
    for _ in range(4):
        for worker_id in ("w", "v"):
            await backend.ask("workers.append_events", worker_id=worker_id, events=events)
    backend.told.clear()
    for worker_id in ("w", "v"):
        await backend.say(kind="subscribe", id=worker_id, worker_id=worker_id, snapshot="none")
    await backend.until("sync", "v")
    said = [frame["subscription"] for frame in backend.told if frame["kind"] == "events"]
    both = said[said.index("v") :]
    both = both[: len(both) - both[::-1].index("w")]
    assert len(both) > 10
    assert all(one != other for one, other in pairwise(both)), both


async def test_a_ping_is_answered_with_where_the_subscriptions_stand(
    server: InProcess, backend: Peer
) -> None:
    await backend.say(kind="ping")
    assert await backend.frame() == {"kind": "pong", "cursors": {}}
    await backend.say(kind="subscribe", id="s", worker_id="w")
    synced = (await backend.until("sync", "s"))[-1]
    await backend.say(kind="ping")
    while (pong := await backend.frame())["kind"] != "pong":
        pass
    assert pong["cursors"] == {"s": synced["cursor"]}


async def test_no_more_commands_than_the_bound_are_under_way(server: InProcess, backend: Peer) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 60; done"
    execution = {"kind": "script", "script": script}
    task_id = (await backend.ask("tasks.submit", execution=execution))["result"]["task_id"]
    await backend.say(kind="subscribe", id="s", worker_id=task_id, types=["text_delta"], snapshot="none")
    await backend.until("events", "s")  # Now it has its trap, and only a cancel ends it soon.
    await backend.say(kind="unsubscribe", id="u", subscription="s")
    await backend.answer("u")
    for number in range(COMMANDS_MAX):
        await backend.say(kind="request", id=number, method="workers.stop", params={"worker_id": task_id})
    await backend.say(kind="request", id="behind", method="runtime.health")
    assert (await server.ask("POST", f"/v1/workers/{task_id}/cancel")).status == 200
    answers = [(await backend.frame())["id"] for _ in range(COMMANDS_MAX + 1)]
    assert answers[0] != "behind"
    assert set(answers) == {*range(COMMANDS_MAX), "behind"}


async def test_a_peer_that_does_not_read_is_not_read_and_loses_nothing(server: InProcess) -> None:
    counts = server.app._metrics.commands._counts
    frame = masked(
        orjson.dumps({"kind": "request", "id": 1, "method": "workers.get", "params": {"worker_id": "w"}})
    )
    loop = asyncio.get_running_loop()
    stuck = await stuck_peer(server)
    sending = asyncio.create_task(loop.sock_sendall(stuck, frame * 200_000))
    seen = -1
    while counts["workers.get", 200] > seen:  # It comes to rest: nothing more is begun.
        seen = counts["workers.get", 200]
        for _ in range(200):
            await asyncio.sleep(0.001)
    assert 0 < seen < 200_000
    assert not sending.done()
    assert (await server.ask("GET", "/healthz")).status == 200
    sending.cancel()
    await asyncio.wait([sending])
    stuck.close()


async def test_a_peer_that_takes_nothing_is_told_and_dropped() -> None:
    async with watched(bounds=replace(BOUNDS, stall_s=2.0, close_s=PATIENCE_S)) as server:
        stuck = await stuck_peer(server)
        loop = asyncio.get_running_loop()
        frame = masked(orjson.dumps({"kind": "request", "id": 1, "method": "workers.list"}))
        for number in range(200):
            await create(server, f"w{number}")
        sending = asyncio.create_task(loop.sock_sendall(stuck, frame * 5000))
        await until(lambda: len(server.connections._open) > 0)
        connection = next(iter(server.connections._open))
        await until(lambda: connection.stalled)
        sending.cancel()
        await asyncio.wait([sending])
        said, closing = b'"code":"runtime.stalled"', CLOSES[EndCode.STALLED].to_bytes(2)
        last = b""
        while said not in last or closing not in last.rpartition(said)[2]:
            piece = await soon(loop.sock_recv(stuck, 1 << 20))
            assert piece, "closed without a word"
            last = (last + piece)[-4096:]
        stuck.close()


async def test_a_server_that_leaves_says_where_each_stands_and_when_to_come_back(server: InProcess) -> None:
    async with peer(url(server)) as backend:
        await backend.say(kind="subscribe", id="s", worker_id="w")
        await backend.until("sync", "s")
        await server.store.close()
        leaving = asyncio.create_task(server.app.sessions.leave())
        last, code, _ = await backend.last_words()
        await soon(leaving)
    assert code == 1012
    assert last["code"] == "runtime.upstream_closed"
    assert 250 <= last["retry_after_ms"] <= 2000
    mine = [frame for frame in backend.told if frame.get("subscription") == "s"]
    assert [frame["kind"] for frame in mine[-2:]] == ["bookmark", "diagnostic"]
    assert (mine[-1]["code"], mine[-1]["close"]) == ("runtime.upstream_closed", 1012)


async def test_a_removed_worker_ends_its_subscription_and_no_other(server: InProcess, backend: Peer) -> None:
    await create(server, "gone")
    await backend.say(kind="subscribe", id="kept", worker_id="w")
    await backend.say(kind="subscribe", id="gone", worker_id="gone")
    await backend.until("sync", "gone")
    await backend.ask("workers.stop", worker_id="gone")
    await backend.ask("workers.remove", worker_id="gone")
    assert [f["kind"] for f in backend.told if f.get("subscription") == "gone"][-1] in {"end", "diagnostic"}
    await produce(server, "still here")
    while "still here" not in names(await backend.until("events", "kept")):
        pass


async def test_drain_is_answered_with_202_and_changes_are_refused_from_then_on(backend: Peer) -> None:
    assert (await backend.ask("runtime.drain", reason="enough"))["status"] == 202


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({**BEARER, "Origin": "https://evil.example"}, 403),
    ],
)
async def test_who_may_not_ask_is_refused_before_the_upgrade(
    server: InProcess, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await session(url(server), headers=headers).__aenter__()
    assert refused.value.response.status_code == status


async def test_a_host_that_is_not_ours_is_refused_before_the_upgrade(server: InProcess) -> None:
    head = upgrade_head(server, ROUTE, SUBPROTOCOL)
    foreign = head.replace(b"127.0.0.1:%d" % server.port, b"evil.example")
    assert (await server.exchange(foreign)).startswith(b"HTTP/1.1 403 ")


async def test_another_subprotocol_or_none_is_refused(server: InProcess) -> None:
    for subprotocols in ((), ("watchglass.feed.v2",)):
        with pytest.raises(InvalidStatus) as refused:
            await session(url(server), subprotocols=subprotocols).__aenter__()
        assert refused.value.response.status_code == 400
    assert (await server.ask("GET", "/v1/session/ws")).status == 400


async def test_sessions_and_their_commands_are_counted(server: InProcess, backend: Peer) -> None:
    await backend.ask("runtime.health")
    await backend.ask("workers.get", worker_id="x")
    await backend.ask("no such thing")
    await backend.say(kind="subscribe", id="s", worker_id="w")
    await backend.until("sync", "s")
    exposed = (await server.ask("GET", "/metrics")).content.decode()
    assert "watchglass_sessions_open 1.0" in exposed
    for counted in (
        'method="runtime.health",status="200"',
        'method="workers.get",status="404"',
        'method="(none)",status="404"',
        'method="subscribe",status="200"',
    ):
        assert f"watchglass_session_commands_total{{{counted}}} 1.0" in exposed
    assert 'watchglass_feeds_open{transport="session"} 1.0' in exposed


async def test_a_peer_that_speaks_before_the_upgrade_is_answered_is_refused(server: InProcess) -> None:
    frame = masked(b'{"kind":"request","id":1,"method":"runtime.get"}')
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(upgrade_head(server, ROUTE, SUBPROTOCOL) + frame)
    head = await soon(reader.readuntil(b"\r\n\r\n"))
    assert head.startswith(b"HTTP/1.1 400 ")
    await soon(server.app.sessions.leave())  # None is open, though its connection is.
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("behind", [b"\x81", b"\x88", b"\x89"], ids=["a text", "a close", "a ping"])
async def test_what_stands_behind_a_close_is_not_heard(
    server: InProcess, behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 6455, section 5.5.1."""
    ready = await stuck_peer(server)
    close, create = b"\x88\x82\0\0\0\0\x03\xe8", b'{"kind":"request","id":1,"method":"workers.create"}'
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(ready, close + masked(create) + behind + b"\x80\0\0\0\0" + masked(create))
    answer = b""
    while piece := await soon(loop.sock_recv(ready, 1024)):
        answer += piece
    assert answer == b"\x88\x02\x03\xe8"
    ready.close()
    await until(lambda: len(server.connections) == 0)
    assert server.runtime.summary().worker_count == 1  # The fixture's.
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_nothing_is_left_of_a_session_that_was_cut(server: InProcess) -> None:
    stuck = await stuck_peer(server)
    frame = masked(orjson.dumps({"kind": "subscribe", "id": 1, "worker_id": "w"}))
    large = masked(b'{"kind":"request","id":1,"method":"workers.transcript","params":{"worker_id":"w"}}')
    await asyncio.get_running_loop().sock_sendall(stuck, frame + large * 500)
    await until(lambda: server.runtime.summary().observer_count == 1)
    stuck.close()
    await until(lambda: server.runtime.summary().observer_count == 0)
    await soon(server.app.feeds.wait_none_open())


async def stuck_peer(server: InProcess) -> socket.socket:
    """A session whose peer does not read yet."""
    peer, answer = await upgraded(server, ROUTE, SUBPROTOCOL), b""
    while b"\r\n\r\n" not in answer:
        answer += await soon(asyncio.get_running_loop().sock_recv(peer, 1024))
    assert answer.startswith(b"HTTP/1.1 101 ")
    return peer


def masked(text: bytes) -> bytes:
    """A short text as a client's frame; its mask is nothing."""
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


def unmoving(said: Any) -> Any:
    """The same without what changes from one moment to the next."""
    moving = {"uptime_s", "observer_count", "now", "uptime_ms", "time", "ts"}
    if isinstance(said, dict):
        return {name: unmoving(value) for name, value in said.items() if name not in moving}
    return [unmoving(each) for each in said] if isinstance(said, list) else said


async def test_a_subscription_that_is_ended_as_it_begins_is_answered_and_leaves_nothing(
    server: InProcess,
) -> None:
    frames = (
        b'{"kind":"subscribe","id":1,"worker_id":"w"}',
        b'{"kind":"unsubscribe","id":2,"subscription":1}',
    )
    async with peer(url(server)) as backend:
        backend.socket.transport.write(b"".join(map(masked, frames)))  # Both are read together.
        await backend.answer(2)
        assert [frame["id"] for frame in backend.told if frame["kind"] == "response"] == [1, 2]
        await backend.say(kind="subscribe", id=1, worker_id="w")
        assert (await backend.frame())["kind"] == "response"  # Nothing of the first one was left.
        await backend.until("sync", 1)
    await until(lambda: server.runtime.summary().observer_count == 0)
