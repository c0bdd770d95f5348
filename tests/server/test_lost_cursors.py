"""A cursor that cannot be honoured is told in every way there is: what was asked, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from watchglass.protocol.cursor import Seq, decode_cursor, encode_cursor
from watchglass.protocol.feed_v2 import CloseCode
from watchglass.store.base import Retention

from support.following import Diagnosed, Reading
from support.inprocess import InProcess
from support.routes import ROUTES
from support.stores import OPENERS
from support.tasks import soon, until
from support.watched import create, produce, url, watched

pytestmark = pytest.mark.asyncio
KEPT_EVENTS = 20
LOST = {
    "ahead": "ahead",
    "far ahead": "ahead",
    "a time to come": "ahead",
    "foreign": "generation",
    "in a hole": "generation",
    "expired": "retention",
    "before all": "retention",
}
"""Cursors that are lost, and the reason that is told."""
NOT_CURSORS = ["nope", "wo_", "wo_000000000000000G", "WO_0000000000000001", "x" * 3000, "wo_1\n", "é"]
CLOSED = {
    "v1": (1008, 1008),
    "v2": (CloseCode.EXPIRED, CloseCode.MALFORMED),
    "v2 of everybody": (CloseCode.EXPIRED, CloseCode.MALFORMED),
}
"""By the codes of a close; where there is none, by HTTP's."""


@pytest_asyncio.fixture(params=["memory", "fs-os"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[InProcess]:
    """With a worker that said more than is kept, and one that spoke in between."""
    kept = Retention(max_events=KEPT_EVENTS)
    async with watched(opener=OPENERS[request.param], retention=kept, hosts=("127.0.0.1",)) as server:
        await create(server, "other")
        yield server


async def lost_cursors(server: InProcess) -> dict[str, str]:
    """One of each kind; what is said meanwhile comes in pieces, as retention drops it in pieces."""
    first = (await produce(server, "first"))["first"]
    for number in range(3 * KEPT_EVENTS):
        await produce(server, str(number))
    between = (await produce(server, "between", worker_id="other"))["first"]
    head = (await produce(server, "last"))["last"]
    return {
        "ahead": _beside(head, 1),
        "far ahead": "wo_ffffffffffffffff",
        "a time to come": "time:2100-01-01T00:00:00Z",
        "foreign": between,
        "in a hole": _beside(head, -1),
        "expired": first,
        "before all": "wo_0000000000000001",
    }


def _beside(cursor: str, by: int) -> str:
    return encode_cursor(Seq(decode_cursor(cursor) + by))


def asked(lost: dict[str, str], route: str) -> dict[str, str]:
    """Those that are lost to a route. Everybody's feed takes the cursor of any event, whoever's it is."""
    no_loss = {"ahead", "foreign"} if ROUTES[route].of_everybody else set()
    return {name: cursor for name, cursor in lost.items() if name not in no_loss}


async def diagnosis(server: InProcess, route: str, cursor: str) -> Diagnosed:
    """Why this is no place to read from."""
    with pytest.raises(Diagnosed) as caught:
        await soon(ROUTES[route].read(url(server), ROUTES[route].reading("w", cursor)))
    return caught.value


async def test_what_is_lost_is_told_with_what_was_asked_and_what_is_kept(server: InProcess) -> None:
    lost = await lost_cursors(server)
    for route in ROUTES:
        for name, cursor in asked(lost, route).items():
            told = await diagnosis(server, route, cursor)
            if route == "v1":
                check_words(server, told, cursor)
                continue
            assert (told.closed, told.code) == (CLOSED.get(route, (410,))[0], "cursor_unknown_or_expired")
            assert (told.facts["reason"], told.facts["requested"]) == (LOST[name], cursor), (route, name)
            assert told.facts["oldest"] <= told.facts["head"]
            if ROUTES[route].of_everybody and name == "expired":
                assert told.facts["worker_id"] == "w"


def check_words(server: InProcess, told: Diagnosed, cursor: str) -> None:
    """Version 1 has words alone, and knows no times."""
    assert told.closed == 1008
    if cursor.startswith("time:"):
        assert told.code == "cursor_malformed"
        return
    assert told.code == "cursor_unknown_or_expired"
    detail = server.runtime.worker("w")
    for named in (cursor, detail.oldest, detail.head):
        assert named in told.message


async def test_or_it_is_told_by_a_reset_and_the_feed_goes_on_from_the_head(server: InProcess) -> None:
    for route in (name for name, route in ROUTES.items() if route.knows_resets):
        lost = await lost_cursors(server)
        for name, cursor in asked(lost, route).items():
            reading, after = await read_after_reset(server, route, cursor)
            [reset], [first] = reading.resets, reading.envelopes
            assert (reset["reason"], reset["requested"]) == (LOST[name], cursor), (route, name)
            assert (first["cursor"], first["prev"]) == (after, reset["head"]), (route, name)


async def read_after_reset(server: InProcess, route: str, cursor: str) -> tuple[Reading, str]:
    """What is read up to the one event, whose cursor this is, that follows a reset."""
    reading = ROUTES[route].reading("w", cursor, "&on_expired=snapshot")
    follows = asyncio.create_task(ROUTES[route].read(url(server), reading))
    await until(lambda: bool(reading.resets))
    after: str = (await produce(server, "after"))["first"]
    await until(lambda: bool(reading.envelopes))
    follows.cancel()
    await asyncio.wait([follows])
    return reading, after


def check_kept(server: InProcess, route: str, told: Diagnosed, cursor: str) -> None:
    """What is there to read is told beside it; version 2 tells a program so, too."""
    if not ROUTES[route].of_everybody:
        detail = server.runtime.worker("w")
        assert f"the oldest kept cursor is {detail.oldest}, the newest is {detail.head}" in told.message
    if route.startswith("v2"):
        facts = told.facts
        assert (facts["reason"], facts["requested"]) == ("malformed", cursor)
        assert facts["oldest"] <= facts["head"]


async def test_what_is_no_cursor_is_told_to_be_none(server: InProcess) -> None:
    for route in ROUTES:
        for cursor in NOT_CURSORS:
            told = await diagnosis(server, route, cursor)
            closed = CLOSED.get(route, (0, 400))[1]
            assert (told.closed, told.code) == (closed, "cursor_malformed"), (route, cursor)
            assert "malformed" in told.message
            check_kept(server, route, told, cursor)
            assert len(told.message) < 400
