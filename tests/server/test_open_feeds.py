"""The feeds of one server: counted as they are, and ended when their tokens no longer hold."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from watchglass.protocol.errors import InsufficientScope, RuntimeFault, Unauthorized, WorkerNotFound
from watchglass.protocol.scopes import TokenScope
from watchglass.server.asgi import Message
from watchglass.server.auth import Access
from watchglass.server.callers import ANYBODY, LOCAL, Caller, note_caller
from watchglass.server.ear import Ear
from watchglass.server.given_token import Secret
from watchglass.server.open_feeds import OpenFeeds, Sent, Transport
from watchglass.server.tokens import TokenBook
from watchglass.server.tokens_file import TokenEntry, change_tokens, digest_of

pytestmark = pytest.mark.asyncio


def asked_by(caller: Caller = ANYBODY) -> dict[str, Any]:
    scope: dict[str, Any] = {"client": ("127.0.0.1", 5)}
    note_caller(scope, caller)
    return scope


def put(path: Path, worker_id: str | None, *names: str) -> None:
    entries = [
        TokenEntry(
            name=name,
            scope=TokenScope.OBSERVE,
            worker_id=worker_id,
            sha256=digest_of(name.encode()).hex(),
        )
        for name in names
    ]
    change_tokens(path, lambda _: entries)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "tokens.jsonl"
    put(found, None, "a", "b")
    return found


@pytest.fixture
def access(path: Path) -> Access:
    return Access(token=Secret("local"), hosts=frozenset(), tokens=TokenBook(path))


def caller(access: Access, name: str) -> Caller:
    assert access.tokens is not None
    found = access.tokens.caller(name.encode())
    assert found is not None
    return found


async def test_what_closed_feeds_have_sent_stays_counted() -> None:
    feeds = OpenFeeds()
    with feeds.opened(Transport.SSE, asked_by(), "w") as first:
        first.count(2, 100)
        first.count_batch(5, 50)
        with feeds.opened(Transport.SSE, asked_by(), "w") as second:
            second.count(1, 7, 1)
            assert feeds.open_count() == {Transport.SSE: 2}
            assert feeds.sent() == {Transport.SSE: Sent(frames=4, events=6, size_bytes=157)}
    assert (feeds.open_count(), list(feeds)) == ({}, [])
    assert feeds.sent() == {Transport.SSE: Sent(frames=4, events=6, size_bytes=157)}
    assert feeds.closed == {"client_closed": 2}


async def test_those_are_told_whose_tokens_no_longer_hold(path: Path, access: Access) -> None:
    feeds, told = OpenFeeds(access), dict[str, RuntimeFault]()
    with (
        feeds.opened(Transport.SSE, asked_by(caller(access, "a")), "w") as one,
        feeds.opened(Transport.SSE, asked_by(caller(access, "b")), "w") as other,
        feeds.opened(Transport.SSE, asked_by(LOCAL), "w") as local,
        feeds.opened(Transport.SSE, asked_by(), "w") as anybody,
    ):
        for name, feed in (("a", one), ("b", other), ("local", local), ("anybody", anybody)):
            feed.heed_revocation(lambda fault, name=name: told.update({name: fault}))  # type: ignore[misc]
        feeds.recheck()
        assert told == {}
        put(path, None, "b")
        feeds.recheck()
        assert {name: type(fault) for name, fault in told.items()} == {"a": Unauthorized}
        put(path, "v", "b")
        feeds.recheck()
        assert {name: type(fault) for name, fault in told.items()} == {"a": Unauthorized, "b": WorkerNotFound}


async def test_a_feed_of_all_workers_ends_when_its_token_is_of_one(path: Path, access: Access) -> None:
    feeds, told = OpenFeeds(access), list[RuntimeFault]()
    with feeds.opened(Transport.SSE, asked_by(caller(access, "a"))) as feed:
        feed.heed_revocation(told.append)
        feeds.recheck()
        assert told == []
        put(path, "w", "a")
        feeds.recheck()
        put(path, None, "b")
        feeds.recheck()
        assert [type(fault) for fault in told] == [InsufficientScope, Unauthorized]


async def test_one_that_is_revoked_while_its_feed_is_being_opened_is_told_at_once(
    path: Path, access: Access
) -> None:
    feeds, told = OpenFeeds(access), list[RuntimeFault]()
    scope = asked_by(caller(access, "a"))
    put(path, None, "b")
    feeds.recheck()
    with feeds.opened(Transport.SSE, scope, "w") as feed:
        feed.heed_revocation(told.append)
        assert [type(fault) for fault in told] == [Unauthorized]


async def test_a_right_that_is_lost_before_anything_is_said_is_heard() -> None:
    async def nothing_comes() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def speak() -> None:
        await asyncio.Event().wait()

    ear, fault = Ear(nothing_comes), Unauthorized()
    ear.observer_lost_right(fault)
    assert await ear.speak_until_heard(speak) is fault
    await ear.close()
