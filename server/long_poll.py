"""A feed for whoever can only ask: `GET /v1/workers/{id}/events?cursor=&wait_s=&limit=` (docs/feed.md).

An answer comes as soon as there is an event that passes, when the worker has
ended and all is told, or after `wait_s`; `next` is the cursor to ask with next.
A cursor that cannot be honoured is 410 with what `reset` says. A server that
stops answers with what there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import orjson

from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.errors import CursorExpired, CursorUnknown, RuntimeFault, WorkerNotFound
from watchglass.protocol.event_filter import EventFilter
from watchglass.protocol.feed_v2 import envelopes_after
from watchglass.protocol.frames import envelope_seq
from watchglass.protocol.start import FeedQuery, parse_feed_query, whole_number
from watchglass.runtime import Reader
from watchglass.store.base import READ_RECORDS_MAX, LogClosed

from .asgi import Message, Receive, Scope, Send, answer_http, query_parameters
from .ear import Ear
from .feed_ends import gone_body
from .metrics import Transport
from .open_feeds import OpenFeed, OpenFeeds
from .subjects import Subject

WAIT_S_DEFAULT: Final = 25
WAIT_S_MAX: Final = 60
EVENTS_MAX: Final = READ_RECORDS_MAX
JSON_HEADERS: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


class LongPolls:
    """Serves one answer at a time."""

    def __init__(self, open_feeds: OpenFeeds) -> None:
        self._open_feeds = open_feeds

    async def serve(self, scope: Scope, receive: Receive, send: Send, subject: Subject) -> None:
        """One request, to its answer.

        Raises: InvalidWorkerId, InvalidQuery, CursorMalformed, WorkerNotFound,
        ResourceLimitExceeded, StoreIo, StoreMissing, StoreCorrupt.
        """
        subject.check()
        parameters = query_parameters(scope)
        query = parse_feed_query(parameters)
        wait_s = whole_number(parameters, "wait_s", default=WAIT_S_DEFAULT, least=0, most=WAIT_S_MAX)
        limit = whole_number(parameters, "limit", default=EVENTS_MAX, least=1, most=EVENTS_MAX)
        query = FeedQuery(requested=query.requested, start=query.start, types=query.types)
        with self._open_feeds.opened(Transport.LONG_POLL, scope, subject.worker_id) as feed:
            ear = Ear(receive, ignored)

            async def speak() -> None:
                status, body = await self._answer(subject, query, wait_s, limit, feed)
                length = (b"content-length", str(len(body)).encode())
                await answer_http(send, status, [*JSON_HEADERS, length], body)
                if status == HTTPStatus.OK:
                    feed.reason = "answered"

            feed.heed_revocation(ear.observer_lost_right)
            try:
                heard = await ear.speak_until_heard(speak)
            finally:
                await ear.close()
            if isinstance(heard, RuntimeFault):
                feed.reason = heard.code
                raise heard

    async def _answer(
        self, subject: Subject, query: FeedQuery, wait_s: int, limit: int, feed: OpenFeed
    ) -> tuple[int, bytes]:
        try:
            async with subject.observe(query, silent=True) as reader:
                feed.follow(lambda: reader.taken, lambda: reader.logs_behind(reader.taken), query.types)
                prev = encode_cursor(reader.position).encode()
                lines = await _taken(reader, query, wait_s, limit)
                body = _body(reader, prev, lines)
        except (CursorUnknown, CursorExpired) as fault:
            feed.reason = fault.code
            return 410, gone_body(fault)
        if lines:
            feed.count_batch(len(lines), len(body))
        return 200, body


async def ignored(_message: Message) -> bool:
    """The body of a GET: nobody asked for it."""
    return True


async def _taken(reader: Reader, query: FeedQuery, wait_s: int, limit: int) -> Sequence[bytes]:
    """What passes of the next events, waited for. Raises as `Log.read`, and WorkerNotFound."""
    passes = None if query.types is None else EventFilter(query.types)
    until_s = asyncio.get_running_loop().time() + wait_s
    try:
        while True:
            run = await reader.take_ready()
            passing = run.lines if passes is None else passes.passing(run.lines)
            if len(passing) > limit:
                passing = passing[:limit]
                reader.position = envelope_seq(passing[-1])
            if passing or reader.is_complete:
                return passing
            # Only waiting is cut off, never reading: what takes a moment to read would never be told.
            async with asyncio.timeout_at(until_s):
                await (asyncio.sleep(0) if run else reader.wait())
    except TimeoutError:
        return ()
    except LogClosed as closed:
        if closed.removed:
            raise WorkerNotFound(reader.worker_id) from None
        return ()


def _body(reader: Reader, prev: bytes, lines: Sequence[bytes]) -> bytes:
    said = orjson.dumps(
        {
            "next": encode_cursor(reader.position),
            "head": encode_cursor(reader.head),
            "oldest": encode_cursor(reader.oldest),
            "up_to_date": reader.position >= reader.head,
            "ended": reader.is_complete,
        }
    )
    return b'{"events":[%b],%b' % (b",".join(envelopes_after(prev, lines) if lines else ()), said[1:])
