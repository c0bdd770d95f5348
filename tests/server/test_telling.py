"""What a reader is told when something happens between its join and its first batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest
import pytest_asyncio

from watchglass.protocol.events import ProducedEvent
from watchglass.protocol.feed_v2 import envelopes_after
from watchglass.protocol.start import parse_feed_query
from watchglass.runtime import Runtime, open_runtime
from watchglass.server.greeting import hello
from watchglass.server.telling import ReadyFrames, Telling

from support.tasks import begun, soon
from support.workers import request_of

pytestmark = pytest.mark.asyncio
Json = dict[str, Any]

LAST = "the last"


class Notes:
    """A voice that writes down what is said; `meanwhile` happens while it says the first word."""

    ready: ReadyFrames | None = None

    def __init__(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._meanwhile = meanwhile
        self.said: list[Json] = []
        self.told_all = asyncio.Event()

    async def say(self, kind: str, text: bytes, cursor: str | None) -> None:
        """See `Voice`."""
        del cursor
        if kind == "hello":
            await self._meanwhile()
        self.said.append(orjson.loads(text))

    async def tell(self, prev: bytes, lines: Sequence[bytes], *, replay: bool) -> None:
        """See `Voice`."""
        envelopes = [orjson.loads(each) for each in envelopes_after(prev, lines)]
        self.said.append({"kind": "events", "replay": replay, "envelopes": envelopes})
        if texts(self.said[-1])[-1:] == [LAST]:
            self.told_all.set()


@pytest_asyncio.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with open_runtime() as opened:
        await opened.create_worker(request_of(worker_id="w"))
        yield opened


async def produce(runtime: Runtime, *texts: str) -> None:
    events = [ProducedEvent(event="text_delta", data={"text": text}) for text in texts]
    await runtime.append_events("w", events)


def texts(frame: Json) -> list[str]:
    return [
        each["payload"]["data"]["text"] for each in frame["envelopes"] if "text" in each["payload"]["data"]
    ]


async def test_a_frame_has_what_is_replayed_or_what_follows_and_sync_stands_between(runtime: Runtime) -> None:
    """The log's end has moved on by the time of the first batch, which would take both."""
    await produce(runtime, "before", "also before")
    query = parse_feed_query({"cursor": ["earliest"], "snapshot": ["none"]})
    notes = Notes(lambda: produce(runtime, "after", LAST))
    async with runtime.observe("w", query) as reader:
        telling = Telling(reader, query, notes, 15.0, lambda _reason: None)
        greeting = await hello(runtime, reader, query, 15.0)
        speaking = asyncio.create_task(telling.tell_all(greeting))
        await soon(notes.told_all.wait())
        speaking.cancel()
        with suppress(asyncio.CancelledError):
            await speaking
    said, replayed, sync, live = notes.said
    assert [said["kind"], replayed["kind"], sync["kind"], live["kind"]] == [
        "hello",
        "events",
        "sync",
        "events",
    ]
    assert (replayed["replay"], texts(replayed)) == (True, ["before", "also before"])
    assert (
        replayed["envelopes"][-1]["cursor"] == sync["cursor"] == said["as_of"] == live["envelopes"][0]["prev"]
    )
    assert (live["replay"], texts(live)) == (False, ["after", LAST])


async def test_a_bookmark_that_is_asked_for_before_the_greeting_comes_behind_it(runtime: Runtime) -> None:
    await produce(runtime, LAST)
    query = parse_feed_query({"cursor": ["earliest"], "snapshot": ["none"]})
    notes = Notes(lambda: produce(runtime, "meanwhile"))
    async with runtime.observe("w", query) as reader:
        telling = Telling(reader, query, notes, 15.0, lambda _reason: None)
        asked = await begun(telling.bookmark())
        assert notes.said == []
        await telling.greet(await hello(runtime, reader, query, 15.0))
        await soon(asked)
    assert [each["kind"] for each in notes.said] == ["hello", "bookmark"]
    assert notes.said[-1]["cursor"] == notes.said[0]["resumed_from"]
