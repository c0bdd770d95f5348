"""The application on a real socket: the order of refusals, bodies, errors of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from watchglass.protocol.base import BODY_BYTES_MAX

from support.inprocess import BEARER, TOKEN, InProcess, listening, parsed
from support.tasks import soon

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server() -> AsyncIterator[InProcess]:
    async with listening(origins=("https://app.example",)) as server:
        yield server


async def test_host_comes_before_token_token_before_path_path_before_body(server: InProcess) -> None:
    content = b"{nope"
    evil = {"Host": "evil.example"}
    answer = await server.ask("POST", "/v1/nowhere", content, evil)
    assert (answer.status, answer.code) == (403, "forbidden_host")
    answer = await server.ask("POST", "/v1/nowhere", content, {"Origin": "https://evil.example"})
    assert (answer.status, answer.code) == (403, "forbidden_origin")
    answer = await server.ask("POST", "/v1/nowhere", content, {})
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = await server.ask("POST", "/v1/nowhere", content)
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await server.ask("POST", "/v1/workers", content)
    assert (answer.status, answer.code) == (400, "invalid_json")


async def test_a_token_in_the_query_does_not_let_in(server: InProcess) -> None:
    assert (await server.ask("GET", f"/v1/workers?token={TOKEN}", None, {})).status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs"])
async def test_some_pages_need_no_token(server: InProcess, path: str) -> None:
    assert (await server.ask("GET", path, None, {})).status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/workers/%20", "invalid_worker_id"),
        ("/v1/workers/a%2Fb", "invalid_worker_id"),
        ("/v1/workers/%2e%2e", "invalid_worker_id"),
        ("/v1/workers/a%00", "invalid_worker_id"),
        ("/v1/workers/a%20b/transcript", "invalid_worker_id"),
        ("/v1/workers/a%20b/logs/stdout", "invalid_worker_id"),
        ("/v1/workers/nope", "worker_not_found"),
        ("/v1/workers/nope/logs/stdout", "worker_not_found"),
        ("/v1/workers/nope/logs/stdlog", "not_found"),
        ("/v1/workers/", "not_found"),
        ("/v1/workers/w/events/ws", "invalid_request"),
        ("/v1/events/ws", "invalid_request"),
        ("?", "not_found"),
        ("*", "not_found"),
        ("v1/runtime", "not_found"),
        ("//v1/runtime", "not_found"),
        ("http://127.0.0.1", "not_found"),
        ("http://[::1/v1/workers/nope", "worker_not_found"),
        ("HTTPS://127.0.0.1?x", "not_found"),
    ],
)
async def test_a_path_says_what_is_wrong_with_it(server: InProcess, path: str, code: str) -> None:
    assert (await server.ask("GET", path)).code == code


async def test_a_method_that_is_not_taken_is_told_with_those_that_are(server: InProcess) -> None:
    answer = await server.ask("PUT", "/v1/workers")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    answer = await server.ask("PUT", "/v1/workers/import")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, POST"
    answer = await server.ask("POST", "/v1/events/ws")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_long_method_is_not_told_back_whole(server: InProcess) -> None:
    answer = await server.ask("X" * 5000, "/v1/workers")
    assert answer.code == "method_not_allowed"
    assert len(answer.content) < 300


@pytest.mark.parametrize(
    ("path", "name", "code"),
    [
        ("/v1/workers", "Idempotency-Key", "invalid_request"),
        ("/api/v1/tasks/t/kill", "x-execgo-owner", "invalid_input"),
    ],
)
async def test_a_header_that_decides_comes_once(server: InProcess, path: str, name: str, code: str) -> None:
    answer = await server.ask("POST", path, {}, {**BEARER, name: "one", name.upper(): "two"})
    assert (answer.status, answer.code) == (400, code)
    assert name in answer.json["error"]["message"]
    assert server.runtime.summary().worker_count == 0


async def test_a_body_over_the_bound_is_refused_whole_or_in_chunks(server: InProcess) -> None:
    answer = await server.ask("POST", "/v1/workers", b" " * (BODY_BYTES_MAX + 1))
    assert (answer.status, answer.code) == (413, "body_too_large")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    sent = f"POST /v1/workers HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode()
    answer = parsed(await soon(server.exchange(sent + piece * 17 + b"0\r\n\r\n")))
    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_body_up_to_the_bound_is_read(server: InProcess) -> None:
    answer = await server.ask("POST", "/v1/workers", b"{}".ljust(BODY_BYTES_MAX))
    assert answer.status == 200


async def test_who_still_sends_a_refused_body_gets_the_answer(server: InProcess) -> None:
    answer = await server.ask("POST", "/v1/workers", b" " * (4 * BODY_BYTES_MAX), {})
    assert (answer.status, answer.code) == (401, "unauthorized")


async def test_a_refused_body_that_never_comes_is_not_waited_for(server: InProcess) -> None:
    head = f"POST /v1/workers HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    answer = parsed(await soon(server.exchange(f"{head}Content-Length: 100\r\n\r\n".encode())))
    assert answer.status == 401


async def test_an_empty_body_will_do_where_everything_is_optional(server: InProcess) -> None:
    worker_id = (await server.ask("POST", "/v1/workers", {})).json["worker"]["worker_id"]
    assert (await server.ask("POST", f"/v1/workers/{worker_id}/stop")).json["ack"]["status"] == "stopped"
    gone = await server.ask("DELETE", f"/v1/workers/{worker_id}")
    assert (gone.status, gone.content) == (204, b"")
    assert "content-type" not in gone.headers


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("status=up", "status"),
        ("phase=up", "phase"),
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("label=x", "label"),
        ("label=a=1&label=a=2", "label"),
        ("after=nobody", "after"),
    ],
)
async def test_a_query_is_refused_by_its_parameter(server: InProcess, query: str, parameter: str) -> None:
    answer = await server.ask("GET", f"/v1/workers?{query}")
    assert (answer.status, answer.code) == (400, "invalid_query")
    assert f"query parameter {parameter}=" in answer.json["error"]["message"]


async def test_labels_are_filtered_by(server: InProcess) -> None:
    for team in ("red", "blue"):
        await server.ask("POST", "/v1/workers", {"control_context": {"labels": {"team": team, "n": "1"}}})
    found = await server.ask("GET", "/v1/workers?label=team=red&label=n=1")
    assert len(found.json["workers"]) == 1


async def test_our_own_bug_is_internal_and_shows_nothing(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    broken = server.runtime.options
    object.__setattr__(server.runtime, "options", None)
    answer = await server.ask("GET", "/v1/runtime")
    object.__setattr__(server.runtime, "options", broken)
    assert (answer.status, answer.code) == (500, "internal")
    assert "NoneType" not in answer.content.decode()
    assert "NoneType" in caplog.text


async def test_a_page_of_a_listed_origin_may_ask_and_read(server: InProcess) -> None:
    page = {"Origin": "https://app.example"}
    asked = await server.ask(
        "OPTIONS", "/v1/workers", None, {**page, "Access-Control-Request-Method": "POST"}
    )
    assert asked.status == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    for headers, status in (({**page, **BEARER}, 200), (page, 401)):
        answer = await server.ask("GET", "/v1/workers", None, headers)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, page["Origin"])
    assert "access-control-allow-origin" not in (await server.ask("GET", "/v1/workers")).headers


async def test_a_stopping_runtime_is_not_ready_and_still_answers_reads(server: InProcess) -> None:
    await server.runtime.drain()
    ready = await server.ask("GET", "/readyz")
    assert (ready.status, ready.code) == (503, "runtime_stopped")
    assert (await server.ask("GET", "/v1/workers")).status == 200
    refused = await server.ask("POST", "/v1/workers", {})
    assert (refused.status, refused.code) == (409, "runtime_stopped")


async def test_unknown_paths_and_workers_leave_no_trace_in_the_metrics(server: InProcess) -> None:
    for number in range(20):
        await server.ask("GET", f"/nowhere/{number}")
        await server.ask("GET", f"/v1/workers/nobody-{number}")
        await server.ask("GET", "/v1/workers", None, {"X": str(number)})
        await server.ask(f"BREW{number}", "/v1/workers")
    exposed = (await server.ask("GET", "/metrics")).content.decode()
    counted = [line for line in exposed.splitlines() if line.startswith("watchglass_http_requests_total")]
    assert sorted(counted) == [
        'watchglass_http_requests_total{method="GET",route="(none)",status="401"} 20.0',
        'watchglass_http_requests_total{method="GET",route="(none)",status="404"} 20.0',
        'watchglass_http_requests_total{method="GET",route="/v1/workers/{worker_id}",status="404"} 20.0',
        'watchglass_http_requests_total{method="OTHER",route="(none)",status="405"} 20.0',
    ]


async def test_a_caller_that_hangs_up_leaves_nothing_half_done(server: InProcess) -> None:
    leaves_slowly = "trap 'sleep 1; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    slow = {"worker_id": "slow", "execution": {"program": "sh", "args": ["-c", leaves_slowly]}}
    await server.ask("POST", "/v1/workers", slow)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n"
    async with server.runtime.observe("slow", "earliest") as reader:

        async def told(piece: bytes) -> None:
            async for record in reader:
                if piece in record.line:
                    return

        await soon(told(b"ready"))
        writer.write(f"POST /v1/workers/slow/stop HTTP/1.1\r\n{head}\r\n".encode())
        await soon(told(b'"phase":"stopping"'))
        writer.close()  # In the middle of the change.
        await soon(told(b'"event":"end"'))
    assert server.runtime.worker("slow").phase == "stopped"
