"""Observers that mean harm or are broken: each ends alone, at a stated bound, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from watchglass.server.connections import KEEP_ALIVE_S

from support.api import Api
from support.processes import rss_bytes, wait_true
from support.raw_feed import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    SMALL_BYTES,
    SOCKETS,
    TEXT,
    TRANSPORTS,
    RawFeed,
    asking,
    flooded,
    frame,
    joined,
    raw_feed,
    request,
)
from support.serving import Served

FLAGS = ["--runtime-id=rt-hostile", "--stall-s=1", "--heartbeat-s=1"]
AFRESH = True
WAYS = {
    "ready frames": [],
    "plain sends": pytest.param(["--no-ready-frames"], marks=pytest.mark.soak),
}

MIB = 1 << 20
BROKEN, SPOKE = b"runtime.websocket_error", b"runtime.observation_only"
MALFORMED = b"runtime.session_malformed"
"""What a session says of both."""
LENGTH_64 = b"\x82\xff%b\x37\xfa\x21\x3d" + b"x" * 1000
VIOLATIONS = {
    "a reserved bit": frame(TEXT, b"x", rsv=4),
    "another reserved bit": frame(TEXT, b"x", rsv=1),
    "a reserved opcode": frame(3, b"x"),
    "a reserved control opcode": frame(11, b"x"),
    "a control frame over 125 bytes": frame(PING, b"x" * 126),
    "a control frame in pieces": frame(PING, b"x", final=False),
    "no mask": frame(TEXT, b"x", masked=False),
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a text that is no UTF-8": frame(TEXT, b"\xff\xfe"),
    "a length with its highest bit": LENGTH_64 % struct.pack("!Q", 1 << 63),
    "a length that is not the shortest": b"\x81\xfe\x00\x01\x37\xfa\x21\x3dx",
    "a close of one byte": frame(CLOSE, b"\x03"),
    "a close code that nobody may send": frame(CLOSE, struct.pack("!H", 999)),
    "a close whose reason is no UTF-8": frame(CLOSE, struct.pack("!H", 1000) + b"\xff"),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4,
}
ANSWERS = {
    "v1": frame(PONG, b"v1", masked=False),
    "v2": b'"kind":"bookmark"',
    "everybody": b'"kind":"bookmark"',
    "session": b'"kind":"pong"',
}
BETWEEN = {
    "a text between the pieces of another": frame(TEXT, b" ", final=False) + frame(TEXT, b'{"kind":"ping"}')
}
"""Of version 1 the first piece is a word too much."""
WORDS = {
    "a megabyte and a half": frame(TEXT, b"x" * (3 << 19)),
    "bytes": frame(BINARY, b'{"kind":"ping"}'),
    "the beginning of four exabytes": LENGTH_64 % struct.pack("!Q", 1 << 62),
    "more than a megabyte in pieces": frame(TEXT, b"x" * 1000, final=False)
    + frame(CONTINUATION, b"x" * 1000, final=False) * 1200,
}


@pytest.fixture
def worker_id(api: Api) -> str:
    return str(api.create()["worker_id"])


@pytest.fixture(autouse=True)
def nothing_is_left(served: Served, api: Api) -> Iterator[None]:
    """After each test no observer is counted, no descriptor is open and the server has reported no bug."""
    before = descriptors(served)
    yield
    wait_true(lambda: observer_count(api) == 0, "observers are remembered")
    wait_true(lambda: descriptors(served) <= before, "connections are left", KEEP_ALIVE_S - 10)
    assert '"level":"error"' not in served.stderr


def observer_count(api: Api) -> int:
    return int(api.get("/v1/runtime")["runtime"]["observer_count"])


def descriptors(served: Served) -> int:
    return len(os.listdir(f"/proc/{served.process.pid}/fd"))  # noqa: PTH208 - a list, not a tree.


def dropped(served: Served) -> bool:
    """Whether no observer is left."""
    return observer_count(Api(served)) == 0


@pytest.mark.parametrize("transport", SOCKETS)
def test_who_speaks_before_the_upgrade_is_refused_and_its_connection_closed(
    served: Served, worker_id: str, transport: str
) -> None:
    for early in (frame(PING, b"hi"), frame(TEXT, b'{"kind":"ping"}'), request(served, "/healthz")):
        for asked in (worker_id, "nobody"):
            with raw_feed(served) as feed:
                feed.send(asking(served, transport, asked) + early)
                answers = feed.rest()
            assert answers.startswith(b"HTTP/1.1 400 ")
            assert answers.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_head_of_a_megabyte_is_refused_and_its_connection_closed(
    served: Served, worker_id: str, transport: str
) -> None:
    first, _, rest = asking(served, transport, worker_id).partition(b"\r\n")
    before = rss_bytes(served.process.pid)
    for headers in (b"X-Huge: " + b"x" * MIB, b"X-Many: x\r\n" * (MIB // 16)):
        with raw_feed(served) as feed:
            with suppress(ConnectionError):  # It may be closed before all of it was sent.
                feed.send(first + b"\r\n" + headers + b"\r\n" + rest)
            assert feed.rest()[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 431", b""}
    assert rss_bytes(served.process.pid) - before < 4 * MIB


@pytest.mark.parametrize("transport", SOCKETS)
def test_a_frame_that_comes_byte_by_byte_is_taken_as_one(
    served: Served, worker_id: str, transport: str
) -> None:
    said, answer = frame(TEXT, b'{"kind":"ping"}'), ANSWERS[transport]
    if transport == "v1":  # It may only be pinged as any WebSocket.
        said = frame(PING, b"v1")
    with raw_feed(served) as neighbour, raw_feed(served) as feed:
        for each in (neighbour, feed):
            joined(each, served, transport, worker_id)
        feed.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, byte in enumerate(said):
            if number % 8 == 0:  # Nobody else waits for the rest.
                Api(served).say(worker_id, f"word {number}.")
                neighbour.until(f"word {number}.".encode())
            feed.send(bytes([byte]))
        feed.until(answer)


@pytest.mark.parametrize("transport", SOCKETS)
def test_what_breaks_the_protocol_is_named_and_ends_that_feed_alone(
    served: Served, worker_id: str, transport: str
) -> None:
    said = {**VIOLATIONS, **WORDS, **({} if transport == "v1" else BETWEEN)}
    with ExitStack() as stack:
        neighbour = stack.enter_context(raw_feed(served))
        joined(neighbour, served, transport, worker_id)
        feeds = {name: stack.enter_context(raw_feed(served)) for name in said}
        for name, feed in feeds.items():
            joined(feed, served, transport, worker_id)
            feed.send(said[name])
        for name, feed in feeds.items():
            assert _reason(transport, name) in feed.rest(), name
        Api(served).say(worker_id, "and you?")
        neighbour.until(b"and you?")
        neighbour.send(frame(CLOSE, struct.pack("!H", 1000)))
        assert neighbour.rest().endswith(frame(CLOSE, struct.pack("!H", 1000), masked=False))


def _reason(transport: str, name: str) -> bytes:
    """What one is told who sent this."""
    if transport == "session":
        return MALFORMED
    return SPOKE if name in WORDS else BROKEN


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_reset_in_any_phase_leaves_nothing(served: Served, worker_id: str, transport: str) -> None:
    asked = asking(served, transport, worker_id)
    for phase in ("connected", "half a head", "asked", "answered", "leaving"):
        for _ in range(5):
            feed = RawFeed(served)
            if phase == "half a head":
                feed.send(asked[: len(asked) // 2])
            elif phase == "asked":
                feed.send(asked)
            elif phase in {"answered", "leaving"}:
                joined(feed, served, transport, worker_id)
            if phase == "leaving":
                feed.send(frame(CLOSE, struct.pack("!H", 1000)))
            feed.reset()


@pytest.mark.parametrize("transport", ["sse", "long_poll"])
def test_requests_that_come_behind_one_another_are_answered_in_order_and_a_feed_is_one_of_them(
    served: Served, api: Api, transport: str
) -> None:
    worker_id = api.create()["worker_id"]
    api.act(worker_id, "stop")
    with raw_feed(served) as feed:
        feed.send(
            asking(served, transport, worker_id) * 3 + request(served, "/healthz", {"Connection": "close"})
        )
        answers = feed.rest().split(b"HTTP/1.1 200")
    assert len(answers) == 5
    for answer in answers[1:4]:
        assert answer.count(b'"event":"end"') == 1
    assert b'"status":"ok"' in answers[4]


def test_a_connection_is_good_for_more_after_a_stream_has_ended(served: Served, api: Api) -> None:
    worker_id = api.create()["worker_id"]
    api.act(worker_id, "stop")
    with raw_feed(served) as feed:
        for _ in range(3):
            feed.send(asking(served, "sse", worker_id))
            feed.until(b"\r\n0\r\n\r\n")
            feed.send(request(served, "/healthz"))
            feed.until(b'"status":"ok"')
        joined(feed, served, "v2", worker_id)


@pytest.mark.parametrize("transport", SOCKETS)
def test_a_flood_of_pings_that_nobody_reads_the_answers_of_is_held_up_and_then_dropped(
    served: Served, worker_id: str, transport: str
) -> None:
    before = rss_bytes(served.process.pid)
    with raw_feed(served, receive_bytes=SMALL_BYTES) as feed:
        joined(feed, served, transport, worker_id)
        assert flooded(feed, frame(PING, b"y" * 125) * 500, times=2000)
        assert rss_bytes(served.process.pid) - before < 8 * MIB
        wait_true(lambda: dropped(served), "it is not dropped")


@pytest.mark.parametrize("transport", ["v2", "everybody", "session"])
def test_a_flood_of_questions_of_an_observer_that_vanishes_is_forgotten(
    served: Served, worker_id: str, transport: str
) -> None:
    before = rss_bytes(served.process.pid)
    with raw_feed(served, receive_bytes=SMALL_BYTES) as feed:
        joined(feed, served, transport, worker_id)
        assert flooded(feed, frame(TEXT, b'{"kind":"ping"}') * 1000, times=500)
        feed.reset()
    assert rss_bytes(served.process.pid) - before < 8 * MIB


def test_questions_that_still_come_when_a_feed_ends_keep_nothing_open(served: Served, api: Api) -> None:
    worker_id = api.create()["worker_id"]
    with raw_feed(served, receive_bytes=SMALL_BYTES) as feed:
        joined(feed, served, "v2", worker_id)
        flooded(feed, frame(TEXT, b'{"kind":"ping"}') * 1000, times=500)
        api.act(worker_id, "stop")
        feed.rest()


def test_a_message_of_pieces_without_content_has_a_bound(served: Served, worker_id: str) -> None:
    with raw_feed(served) as feed:
        joined(feed, served, "v2", worker_id)
        feed.send(frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 128)
        assert SPOKE in feed.rest()


@pytest.mark.parametrize("transport", [*SOCKETS, "sse"])
def test_who_vanishes_without_a_word_is_dropped_when_it_acknowledges_nothing(
    served: Served, api: Api, worker_id: str, transport: str
) -> None:
    with raw_feed(served) as feed:
        joined(feed, served, transport, worker_id)
        feed.vanish()
        api.say(worker_id, "are you there?")
        wait_true(lambda: dropped(served), "it is still an observer", KEEP_ALIVE_S - 10)


@pytest.mark.parametrize("transport", ["v2", "everybody", "session", "sse"])
def test_bookmarks_find_out_who_vanished_from_a_quiet_feed(
    served: Served, worker_id: str, transport: str
) -> None:
    with raw_feed(served) as feed:
        joined(feed, served, transport, worker_id)
        feed.vanish()
        wait_true(lambda: dropped(served), "it is still an observer", KEEP_ALIVE_S - 10)
