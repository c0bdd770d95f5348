"""What is no HTTP/1.1, or no upgrade: refused with a word, and the connection ends."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.feed import UPGRADE
from support.inprocess import BEARER, TOKEN, InProcess, listening, parsed
from support.tasks import soon, until

pytestmark = pytest.mark.asyncio

FEED = "/v1/workers/w/events/ws"
JSON = b'{"execution":{"program":"cat"}}'
CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[InProcess]:
    async with listening() as server:
        yield server


def said(
    server: InProcess,
    start: str = "GET /v1/runtime HTTP/1.1",
    headers: dict[str, str] | None = None,
    *,
    more: str = "",
) -> bytes:
    """A request with the token; `more` are header lines as they are to be sent."""
    sent = {"Host": f"127.0.0.1:{server.port}", **BEARER, **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
    return f"{start}\r\n{lines}{more}\r\n".encode("latin1")


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("start", "more", "status", "word"),
    [
        ("nonsense", "", 400, "request line"),
        ("GET /caf\xe9 HTTP/1.1", "", 400, "request line"),
        ("GET /v1/runtime HTTP/1.1", "Host: other\r\n", 400, "Host"),
        ("GET /v1/runtime HTTP/1.1", "no colon\r\n", 400, "header line"),
        ("GET /v1/runtime HTTP/1.1", "X: a\x00b\r\n", 400, "header line"),
        ("GET /v1/runtime HTTP/2.0", "", 505, "HTTP/2.0"),
        ("GET /v1/runtime HTTP/9.9", "", 505, "HTTP/9.9"),
        ("GET /v1/runtime HTTP/1.1", f"X: {'x' * 200_000}\r\n", 431, "bytes"),
        ("POST /v1/plan HTTP/1.1", "Content-Length: -1\r\n", 400, "Content-Length"),
        ("POST /v1/plan HTTP/1.1", "Content-Length: 2\r\nContent-Length: 3\r\n", 400, "Content-Length"),
        ("POST /v1/plan HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n", 501, "Transfer-Encoding"),
    ],
)
async def test_what_is_no_http_is_told_what_is_wrong_with_it(
    server: InProcess, start: str, more: str, status: int, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = parsed(await soon(server.exchange(said(server, start, more=more))))
    assert (answer.status, answer.code) == (status, "invalid_request")
    assert word in answer.json["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    await until(lambda: len(server.connections) == 0)
    assert complaints(caplog) == []


async def test_a_chunk_that_is_none_is_told_of(server: InProcess) -> None:
    raw = await soon(server.exchange(said(server, "POST /v1/plan HTTP/1.1", CHUNKED) + b"zz\r\n"))
    assert (parsed(raw).status, parsed(raw).code) == (400, "invalid_request")


async def test_two_lengths_of_one_body_are_refused(server: InProcess) -> None:
    """A proxy before us may believe the other one (RFC 9112, 6.1)."""
    head = said(server, "POST /v1/workers HTTP/1.1", {**CHUNKED, "Content-Length": "5"})
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(JSON), JSON)
    answer = parsed(await soon(server.exchange(head + chunks)))
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert server.runtime.summary().worker_count == 0


async def test_a_refusal_shows_nothing_of_a_header(server: InProcess) -> None:
    raw = await soon(server.exchange(said(server, headers={"Authorization": ""}, more=f"Bearer {TOKEN}\r\n")))
    assert parsed(raw).status == 400
    assert TOKEN.encode() not in raw


async def test_the_answer_to_head_has_no_body_and_the_next_refusal_has_one(server: InProcess) -> None:
    sound = said(server, "HEAD /v1/runtime HTTP/1.1")
    raw = await soon(server.exchange(said(server, "HEAD /v1/runtime HTTP/3.0")))
    assert raw.startswith(b"HTTP/1.1 505 ")
    assert raw.endswith(b"\r\n\r\n")
    raw = await soon(server.exchange(sound + b"nonsense\r\n\r\n"))
    refused = parsed(raw[raw.index(b"HTTP/1.1 400 ") :])
    assert refused.code == "invalid_request"


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Sec-WebSocket-Version", "12", 426),
        ("Sec-WebSocket-Version", "", 426),
        ("Sec-WebSocket-Key", "", 400),
        ("Sec-WebSocket-Key", "c2hvcnQ=", 400),
        ("Sec-WebSocket-Key", "\xff\xfe", 400),
        ("Sec-WebSocket-Protocol", "\xff\xfe", 400),
        ("Sec-WebSocket-Extensions", "\xff\xfe", 400),
        ("Connection", "Upgrade, \xff", 400),
    ],
)
async def test_an_upgrade_that_breaks_the_rules_is_refused_and_its_connection_ends(
    server: InProcess, name: str, value: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    start = f"GET {FEED} HTTP/1.1"
    answer = parsed(await soon(server.exchange(said(server, start, {**UPGRADE, name: value}))))
    assert (answer.status, answer.code) == (status, "invalid_request")
    assert name.lower() in answer.json["error"]["message"]
    if status == 426:
        assert (answer.headers["upgrade"], answer.headers["sec-websocket-version"]) == ("websocket", "13")
    assert complaints(caplog) == []


async def test_an_upgrade_by_http_1_0_is_refused(server: InProcess) -> None:
    answer = parsed(await soon(server.exchange(said(server, f"GET {FEED} HTTP/1.0", UPGRADE))))
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    "settings",
    ["", "HTTP2-Settings: A\r\n", "HTTP2-Settings: AAAA\r\n", "HTTP2-Settings: AAT_____\r\n"],
    ids=["none", "no Base64", "half of one", "a window too large"],
)
async def test_an_upgrade_to_http_2_without_settings_is_answered_in_http_1_1(
    server: InProcess, settings: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 7540, 3.2.1."""
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings, close"}
    answer = parsed(await soon(server.exchange(said(server, headers=headers, more=settings))))
    assert answer.status == 200
    assert complaints(caplog) == []


async def test_an_upgrade_to_http_2_with_settings_is_one(server: InProcess) -> None:
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}
    sound = said(server, headers=headers, more="HTTP2-Settings: AAMAAABkAAQAAP__\r\n")
    raw = await soon(server.exchange(sound + b"what is no preface of HTTP/2, so it ends"))
    assert raw.startswith(b"HTTP/1.1 101 ")
