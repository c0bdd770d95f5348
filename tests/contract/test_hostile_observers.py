"""Observers that mean harm or are broken: each ends alone, at a stated bound, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.api import Api
from support.processes import rss_bytes, wait_true
from support.raw_feed import (
    CONTINUATION,
    PING,
    SMALL_BYTES,
    TEXT,
    RawFeed,
    asking,
    flooded,
    frame,
    raw_feed,
    request,
)
from support.serving import Served

FLAGS = ["--runtime-id=rt-hostile", "--stall-s=1", "--heartbeat-s=1"]
WAYS = {"ready frames": [], "plain sends": ["--no-ready-frames"]}

MIB = 1 << 20
FIRST = {"v1": b'"snapshot:', "v2": b'"sync"', "sse": b"feed.sync", "long_poll": b""}
SOCKETS = ("v1", "v2")
SPOKE = b"runtime.observation_only"


@pytest.fixture
def worker_id(api: Api) -> str:
    return str(api.create()["worker_id"])


@pytest.fixture(autouse=True)
def nothing_is_left(served: Served, api: Api) -> Iterator[None]:
    """After each test no observer is counted, no descriptor is open and the server has reported no bug."""
    before = descriptors(served)
    yield
    wait_true(lambda: observer_count(api) == 0, "observers are remembered", 20)
    wait_true(lambda: descriptors(served) <= before, "connections are left", 20)
    assert '"level":"error"' not in served.stderr


def observer_count(api: Api) -> int:
    return int(api.get("/v1/runtime")["runtime"]["observer_count"])


def descriptors(served: Served) -> int:
    return len(os.listdir(f"/proc/{served.process.pid}/fd"))  # noqa: PTH208 - a list, not a tree.


def dropped(served: Served) -> bool:
    """Whether no observer is left."""
    return observer_count(Api(served)) == 0


def joined(feed: RawFeed, served: Served, transport: str, worker_id: str, query: str = "") -> None:
    """Ask for a feed, and read until it is at the head."""
    feed.send(asking(served, transport, worker_id, query))
    feed.until(FIRST[transport])


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


def test_a_flood_of_questions_of_an_observer_that_vanishes_is_forgotten(
    served: Served, worker_id: str
) -> None:
    before = rss_bytes(served.process.pid)
    with raw_feed(served, receive_bytes=SMALL_BYTES) as feed:
        joined(feed, served, "v2", worker_id)
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


@pytest.mark.parametrize("transport", ["v1", "v2", "sse"])
def test_who_vanishes_without_a_word_is_dropped_when_it_acknowledges_nothing(
    served: Served, api: Api, worker_id: str, transport: str
) -> None:
    with raw_feed(served) as feed:
        joined(feed, served, transport, worker_id)
        feed.vanish()
        api.say(worker_id, "are you there?")
        wait_true(lambda: dropped(served), "it is still an observer", 20)


@pytest.mark.parametrize("transport", ["v2", "sse"])
def test_bookmarks_find_out_who_vanished_from_a_quiet_feed(
    served: Served, worker_id: str, transport: str
) -> None:
    with raw_feed(served) as feed:
        joined(feed, served, transport, worker_id)
        feed.vanish()
        wait_true(lambda: dropped(served), "it is still an observer", 20)
