"""A feed as server-sent events: `GET …/events` with `Accept: text/event-stream` (docs/feed.md).

    id: wo_…                     where to resume: the browser sends it back as `Last-Event-ID`
    event: text_delta            the payload's name; `feed.hello`, `feed.sync` … for frames that are no events
    data: {…}                    the envelope, or the frame

The first message, `feed.hello`, carries an id before any event. A bookmark is a
comment and an id: it moves the place of an `EventSource` and is no event to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final

from watchglass.protocol.errors import CursorUnknown, RuntimeFault
from watchglass.protocol.event_filter import event_name
from watchglass.protocol.feed_v2 import Diagnostic, End, cursor_of, encode_control, envelopes_after
from watchglass.protocol.start import FeedQuery, parse_feed_query
from watchglass.runtime import Reader

from .asgi import Receive, Scope, Send, answer_http, header, query_parameters
from .config import FeedBounds
from .connections import request_of
from .ear import Ear, Heard
from .feed_ends import HEARD, diagnosed, gone_body
from .long_poll import JSON_HEADERS, ignored
from .metrics import Metrics, Transport
from .open_feeds import OpenFeed, OpenFeeds
from .subjects import Subject
from .telling import Ended, Telling

HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class EventStreams:
    """Serves streams of server-sent events."""

    def __init__(self, metrics: Metrics, open_feeds: OpenFeeds, bounds: FeedBounds) -> None:
        self._metrics = metrics
        self._open_feeds = open_feeds
        self._bounds = bounds

    async def serve(self, scope: Scope, receive: Receive, send: Send, subject: Subject) -> None:
        """One stream, to its end.

        Raises (only before the stream begins): InvalidWorkerId, InvalidQuery,
        CursorMalformed, WorkerNotFound, ResourceLimitExceeded, StoreIo,
        StoreMissing, StoreCorrupt.
        """
        subject.check()
        last_event_id = header(scope, b"last-event-id")
        query = parse_feed_query(query_parameters(scope), last_event_id=last_event_id)
        async with AsyncExitStack() as stack:
            feed = stack.enter_context(self._open_feeds.opened(Transport.SSE, scope, subject.worker_id))
            ear = Ear(receive, ignored)
            stack.push_async_callback(ear.close)
            try:
                reader = await stack.enter_async_context(subject.observe(query))
            except CursorUnknown as fault:
                feed.reason = fault.code
                await _answer(ear, send, 410, gone_body(fault))
                return
            if last_event_id and reader.is_complete:  # An EventSource that is told so does not come back.
                feed.reason = "ended"
                await _answer(ear, send, 204, b"")
                return
            request = request_of(scope)
            if request is not None:
                request.on_stall = ear.observer_stalled
            voice = _Stream(send, feed)
            telling = self._telling(reader, query, voice)
            feed.follow(lambda: telling.seq, lambda: reader.logs_behind(telling.seq), query.types)
            feed.heed_revocation(ear.observer_lost_right)
            heard = await ear.speak_until_heard(
                lambda: self._tell(subject, reader, query, telling, voice, feed)
            )
            if isinstance(heard, RuntimeFault):
                if not voice.begun:
                    feed.reason = heard.code
                    raise heard
                await _end(voice, feed, telling, diagnosed(heard, subject.name))
            elif heard is Heard.STALLED:
                feed.reason = "stalled"
                await self._say_stalled(telling, voice)
            elif request is not None and request.stalled:
                feed.reason = "stalled"

    def _telling(self, reader: Reader, query: FeedQuery, voice: _Stream) -> Telling:
        return Telling(reader, query, voice, self._bounds.heartbeat_s, self._metrics.feed_reset)

    async def _say_stalled(self, telling: Telling, voice: _Stream) -> None:
        """Tell an observer that took nothing why it is over, for when it wakes in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.close_s):
                await voice.end(HEARD[Heard.STALLED], telling.position if telling.can_bookmark else None)

    async def _tell(
        self,
        subject: Subject,
        reader: Reader,
        query: FeedQuery,
        telling: Telling,
        voice: _Stream,
        feed: OpenFeed,
    ) -> None:
        """Everything, and in the end why there is no more."""
        await voice.begin()
        try:
            await telling.tell_all(await subject.hello(reader, query, self._bounds.heartbeat_s))
        except Ended:
            feed.reason = "ended"
            await voice.end(End(cursor=telling.position), telling.position)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the observer is told and the log has it.
            await _end(voice, feed, telling, diagnosed(fault, reader.worker_id))


class _Stream:
    """One observer's stream: a `Voice`."""

    ready = None

    def __init__(self, send: Send, feed: OpenFeed) -> None:
        self._send = send
        self._feed = feed
        self.begun = False

    async def begin(self) -> None:
        """Say that a stream follows."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})

    async def say(self, kind: str, text: bytes, cursor: str | None) -> None:
        """See `Voice`."""
        place = b"" if cursor is None else b"id: %b\n" % cursor.encode()
        if kind == "bookmark":
            await self._put(b": bookmark\n%b\n" % place)
        else:
            await self._put(b"%bevent: feed.%b\ndata: %b\n\n" % (place, kind.encode(), text))

    async def tell(self, prev: bytes, lines: Sequence[bytes], *, replay: bool) -> None:  # noqa: ARG002 - `sync` divides.
        """See `Voice`."""
        envelopes = envelopes_after(prev, lines)
        content = b"".join(map(_message, lines, envelopes))
        self._feed.count_batch(len(lines), len(content))
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self, last: End | Diagnostic, cursor: str | None) -> None:
        """The last message, and the end of the stream."""
        if isinstance(last, Diagnostic) and last.retry_after_ms is not None:
            await self._put(b"retry: %d\n" % last.retry_after_ms)
        await self.say(last.kind, encode_control(last), cursor)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, content: bytes) -> None:
        self._feed.count(1, len(content))
        await self._send({"type": "http.response.body", "body": content, "more_body": True})


async def _end(voice: _Stream, feed: OpenFeed, telling: Telling, last: Diagnostic) -> None:
    feed.reason = last.code
    await voice.end(last, telling.position if telling.can_bookmark else None)


async def _answer(ear: Ear, send: Send, status: int, body: bytes) -> None:
    """A whole answer in place of a stream."""
    length = [] if status == 204 else [*JSON_HEADERS, (b"content-length", str(len(body)).encode())]
    await ear.speak_until_heard(lambda: answer_http(send, status, length, body))


def _message(line: bytes, envelope: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor_of(line), _field(event_name(line)), envelope)


def _field(name: str) -> bytes:
    """A name as a line can have it; one with line breaks, which no agent needs, is told in one line."""
    return " ".join(name.splitlines()).encode() if "\n" in name or "\r" in name else name.encode()
