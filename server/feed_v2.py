"""The socket side of the observation feed, version 2: subprotocol `watchglass.feed.v2`.

    refused before the upgrade:  a bad id, no such worker, too many observers
    then, on the socket:         what `telling` tells
    the end:                     bookmark, then `end` or a diagnostic, then a close with a code

An observer may say one thing, `{"kind":"ping"}`, and is answered with a
bookmark. One that takes no byte is told so too: the words wait in front of it,
and it has one more look of the watch in `connections` to take them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress

from watchglass.protocol.errors import CursorFault, InvalidQuery, RuntimeFault, StoreFault
from watchglass.protocol.feed_v2 import (
    CLOSES,
    PING_BYTES_MAX,
    SUBPROTOCOL,
    Bookmark,
    CloseCode,
    Diagnostic,
    End,
    encode_control,
    events_text,
    is_ping,
)
from watchglass.protocol.ready_frames import text_frame
from watchglass.protocol.start import FeedQuery, parse_feed_query
from watchglass.runtime import Reader

from .asgi import Message, Receive, Scope, Send, query_parameters
from .config import FeedBounds
from .connections import request_of
from .ear import Ear
from .feed_ends import HEARD, diagnosed
from .frames import FrameSink, frame_sink
from .hypercorn_socket import feed_socket
from .metrics import Metrics, Transport
from .open_feeds import OpenFeed, OpenFeeds
from .subjects import Subject
from .telling import Ended, ReadyFrames, Telling


def asks_for_v2(scope: Scope) -> bool:
    """Whether a WebSocket offers the subprotocol of version 2."""
    return SUBPROTOCOL in scope.get("subprotocols", ())


class FeedsV2:
    """Serves the feed of version 2."""

    def __init__(self, metrics: Metrics, open_feeds: OpenFeeds, bounds: FeedBounds) -> None:
        self._metrics = metrics
        self._open_feeds = open_feeds
        self._bounds = bounds

    async def serve(self, scope: Scope, receive: Receive, send: Send, subject: Subject) -> None:
        """One feed, from before the upgrade to its close.

        Raises (only before the upgrade): what `Subject.check` raises, and
        ResourceLimitExceeded.
        """
        subject.check()
        socket = _Socket(scope, receive, send)
        async with AsyncExitStack() as stack:
            try:
                query = parse_feed_query(query_parameters(scope))
                reader = await stack.enter_async_context(subject.observe(query))
            except (InvalidQuery, CursorFault, StoreFault) as fault:
                refused = fault  # What is said with it is said on the socket, with a close code.
                await self._converse(socket, subject, lambda _feed: _raise(refused))
                return
            await self._converse(
                socket, subject, lambda feed: self._tell(socket, subject, reader, query, feed)
            )

    async def refuse(self, scope: Scope, receive: Receive, send: Send, fault: RuntimeFault) -> None:
        """Say on the socket what may not be done; a page can read no other answer."""
        await self._converse(_Socket(scope, receive, send), None, lambda _feed: _raise(fault))

    async def _converse(
        self, socket: _Socket, subject: Subject | None, speak_for: Callable[[OpenFeed], Awaitable[None]]
    ) -> None:
        """Accept, speak until something ends it, say why, close."""
        transport = Transport.WEBSOCKET_V2
        worker_id, name = (None, None) if subject is None else (subject.worker_id, subject.name)
        with self._open_feeds.opened(transport, socket.scope, worker_id, subprotocol=SUBPROTOCOL) as feed:
            try:
                feed.heed_revocation(socket.ear.observer_lost_right)
                await socket.accept(feed)
                last = await _last_frame(socket, name, lambda: speak_for(feed))
                if last is not None:
                    feed.reason = "ended" if isinstance(last, End) else last.code
                    await socket.say_goodbye(last, timeout_s=self._bounds.close_s)
            finally:
                await socket.ear.close()

    async def _tell(
        self, socket: _Socket, subject: Subject, reader: Reader, query: FeedQuery, feed: OpenFeed
    ) -> None:
        heartbeat_s = self._bounds.heartbeat_s
        telling = Telling(reader, query, socket, heartbeat_s, self._metrics.feed_reset)
        socket.telling = telling
        feed.follow(lambda: telling.seq, lambda: reader.logs_behind(telling.seq), query.types)
        await telling.tell_all(await subject.hello(reader, query, heartbeat_s))


class _Socket:
    """One observer's socket: a `Voice`, and what it hears."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._feed: OpenFeed | None = None
        self._sink: FrameSink | None = None
        self.ear = Ear(receive, self._heard)
        self.telling: Telling | None = None
        self._says_goodbye = False

    async def accept(self, feed: OpenFeed) -> None:
        """Answer the upgrade."""
        self._feed = feed
        inbound = feed_socket(self._send, on_data=self.ear.observer_spoke, kept_bytes_max=PING_BYTES_MAX)
        request = request_of(self.scope)
        if request is not None:
            request.on_stall = self.ear.observer_stalled
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        if inbound is not None:
            inbound.accepted(on_violation=self.ear.observer_broke_protocol)
            self._sink = frame_sink(self.scope)  # Only here, where nobody compresses.

    async def say_goodbye(self, last: End | Diagnostic, *, timeout_s: float) -> None:
        """Say where it stood and why it is over, and leave the observer the time to close its side."""
        code = CloseCode.ENDED if isinstance(last, End) else CLOSES[last.code]
        telling = self.telling
        self._says_goodbye = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if telling is not None and telling.can_bookmark:
                    await self._put(encode_control(Bookmark(cursor=telling.position)))
                await self._put(encode_control(last))
                reason = (
                    code.name.lower() if telling is None else f"{code.name.lower()} at {telling.position}"
                )
                await self._send({"type": "websocket.close", "code": int(code), "reason": reason})
                await self.ear.wait_closed()

    # Voice.

    @property
    def ready(self) -> ReadyFrames | None:
        """See `Voice`."""
        return None if self._sink is None else self

    async def say(self, kind: str, text: bytes, cursor: str | None) -> None:  # noqa: ARG002 - it is in the text.
        """See `Voice`. Nothing comes between the last words, nor after them: no answer to a ping either."""
        if not self._says_goodbye and not await self._put(text):
            await self.drain()

    async def tell(self, prev: bytes, lines: Sequence[bytes], *, replay: bool) -> None:
        """See `Voice`."""
        assert self._feed is not None
        text = events_text(prev, lines, replay=replay)
        self._feed.count_batch(len(lines), len(text))
        await self._send({"type": "websocket.send", "text": text.decode()})

    # ReadyFrames.

    def write(self, frame: bytes, events: int) -> bool:
        """See `ReadyFrames`."""
        assert self._feed is not None
        assert self._sink is not None
        self._feed.count_batch(events, len(frame))
        return self._sink.write(frame)

    async def drain(self) -> None:
        """See `ReadyFrames`; of an observer that is gone, the ear hears."""
        if self._sink is None:
            return
        try:
            await self._sink.drain()
        except OSError:
            await self.ear.wait_closed()

    async def _put(self, text: bytes) -> bool:
        """One frame; whether there is room for more."""
        assert self._feed is not None
        self._feed.count(1, len(text))
        if self._sink is not None:
            return self._sink.write(text_frame(text))
        await self._send({"type": "websocket.send", "text": text.decode()})
        return True

    async def _heard(self, message: Message) -> bool:
        """Answer a ping; nothing else may be said."""
        if not is_ping(message.get("text") or ""):
            return False
        if self.telling is not None:
            await self.telling.bookmark()
        return True


async def _last_frame(
    socket: _Socket, name: str | None, speak: Callable[[], Awaitable[None]]
) -> End | Diagnostic | None:
    """Speak until it is over; why it is (None: the observer left)."""
    try:
        heard = await socket.ear.speak_until_heard(speak)
    except Ended:
        assert socket.telling is not None
        return End(cursor=socket.telling.position)
    except Exception as fault:  # noqa: BLE001 - whatever it is, the observer is told and the log has it.
        return diagnosed(fault, name)
    assert heard is not None, "a feed ends by a reason alone"
    if isinstance(heard, RuntimeFault):
        return diagnosed(heard, name)
    return HEARD.get(heard)


async def _raise(fault: Exception) -> None:
    raise fault
