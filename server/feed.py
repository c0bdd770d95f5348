"""The socket side of the observation feed, version 1 (contract, "Observation feed").

    refused before the upgrade:  a bad id, no such worker, too many observers
    then, on the socket:         snapshot → backlog → live
    the end:                     a diagnostic says why, then a close frame

The runtime's `Reader` owns order and position; here are only bytes. Two tasks
serve an observer: this one sends, a second one reads, so that a close or a word
from the observer is seen at once, whatever the sender waits for. An observer
that takes no bytes is told so, as in version 2, and is then dropped by
`connections`, which knows the socket.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

from watchglass.protocol.errors import (
    CursorExpired,
    CursorFault,
    CursorMalformed,
    CursorUnknown,
    InvalidQuery,
    RuntimeFault,
    WorkerNotFound,
)
from watchglass.protocol.feed_v2 import CloseCode, cursor_of
from watchglass.protocol.frames import FeedDiagnosticCode, diagnostic_frame, event_frame
from watchglass.protocol.identity import parse_worker_id
from watchglass.runtime import Reader, Runtime
from watchglass.store.base import LogClosed, Run

from .asgi import Receive, Scope, Send, query_parameters
from .connections import request_of
from .ear import Ear, Heard
from .frames import FrameSink, frame_sink
from .hypercorn_socket import feed_socket
from .metrics import Transport
from .open_feeds import OpenFeed, OpenFeeds

FEED_ROUTE: Final = "/v1/workers/{worker_id}/events/ws"
_FEED_PATH = re.compile(r"/v1/workers/([^/]*)/events/ws\Z")
_FRAMES_PER_TURN = 32
_LOG = logging.getLogger(__name__)

CLOSE_CODES: Final[dict[FeedDiagnosticCode, int]] = {
    FeedDiagnosticCode.CURSOR_MALFORMED: 1008,
    FeedDiagnosticCode.CURSOR_UNKNOWN_OR_EXPIRED: 1008,
    FeedDiagnosticCode.CURSOR_EXPIRED: 1008,
    FeedDiagnosticCode.WORKER_NOT_FOUND: 1000,
    FeedDiagnosticCode.OBSERVATION_ONLY: 1008,
    FeedDiagnosticCode.WEBSOCKET_ERROR: 1002,
    FeedDiagnosticCode.UNAVAILABLE: 1011,
    FeedDiagnosticCode.UPSTREAM_CLOSED: 1001,
    FeedDiagnosticCode.SERIALIZE_FAILED: 1011,
}
"""RFC 6455 close codes; 1008 means: not like this again, 1001: come back later."""

CLOSE_STALLED: Final = int(CloseCode.STALLED)
"""The one close code that is no RFC 6455 one, for the contract has no diagnostic of its own for it."""

_CURSOR_CODES: Final[dict[type[CursorFault], FeedDiagnosticCode]] = {
    CursorMalformed: FeedDiagnosticCode.CURSOR_MALFORMED,
    CursorUnknown: FeedDiagnosticCode.CURSOR_UNKNOWN_OR_EXPIRED,
    CursorExpired: FeedDiagnosticCode.CURSOR_EXPIRED,
}


class _Ended(Exception):
    """The feed is over for this reason."""

    def __init__(
        self, code: FeedDiagnosticCode, message: str, *, close_code: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.close_code = CLOSE_CODES[code] if close_code is None else close_code
        self.reason = reason


_ENDED_BY_OBSERVER: Final[dict[Heard, _Ended]] = {
    Heard.BROKE_PROTOCOL: _Ended(
        FeedDiagnosticCode.WEBSOCKET_ERROR, "what the observer sent breaks the WebSocket protocol"
    ),
    Heard.SPOKE: _Ended(
        FeedDiagnosticCode.OBSERVATION_ONLY,
        "this feed is for observation only; send input with POST /v1/workers/{worker_id}/input",
    ),
}


def feed_worker_id(path: str) -> str | None:
    """The worker id in a feed's path, unchecked; None for another path."""
    match = _FEED_PATH.match(path)
    return None if match is None else match[1]


class FeedsV1:
    """Serves the feed of version 1."""

    def __init__(self, runtime: Runtime, open_feeds: OpenFeeds, *, close_s: float) -> None:
        self._runtime = runtime
        self._open_feeds = open_feeds
        self._close_s = close_s

    async def serve(self, scope: Scope, receive: Receive, send: Send, worker_id: str) -> None:
        """One feed, from before the upgrade to its close.

        Raises (only before the upgrade): InvalidWorkerId, InvalidQuery,
        WorkerNotFound, ResourceLimitExceeded.
        """
        cursor = _cursor(scope)
        parse_worker_id(worker_id)
        async with AsyncExitStack() as stack:
            try:
                reader = await stack.enter_async_context(self._runtime.observe(worker_id, cursor))
            except CursorFault as fault:
                refused = _ended_by_cursor(fault)
                await self._converse(scope, receive, send, worker_id, lambda _observer: _fail(refused))
                return
            await self._converse(
                scope, receive, send, worker_id, lambda observer: _send_all(reader, observer)
            )

    async def _converse(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        worker_id: str,
        speak: Callable[[_Observer], Awaitable[None]],
    ) -> None:
        """Accept, speak until something ends it, say why, close."""
        with self._open_feeds.opened(Transport.WEBSOCKET_V1, scope, worker_id) as feed:
            observer = _Observer(scope, receive, send, feed)
            feed.heed_revocation(observer.ear.observer_lost_right)
            try:
                await observer.accept()
                ended = await _why_over(observer, lambda: speak(observer))
                if ended is not None:
                    feed.reason = "stalled" if ended.close_code == CLOSE_STALLED else ended.code
                    await observer.say_goodbye(ended, timeout_s=self._close_s)
            finally:
                await observer.ear.close()
                if observer.stalled:
                    feed.reason = "stalled"


class _Observer:
    """One observer's socket. What is sent is counted, and nobody is kept from their turn."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, feed: OpenFeed) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.feed = feed
        self._sent_in_turn = 0
        self._last = b""
        self.ear = Ear(receive)
        self.sink: FrameSink | None = None
        """For frames that are ready; None before the upgrade, and where there is no such way."""

    @property
    def stalled(self) -> bool:
        """Whether it was dropped for taking no bytes."""
        request = request_of(self._scope)
        return request is not None and request.stalled

    async def accept(self) -> None:
        """Answer the upgrade."""
        inbound = feed_socket(self._send, on_data=self.ear.observer_spoke)
        request = request_of(self._scope)
        if request is not None:
            request.on_stall = self.ear.observer_stalled
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})
        if inbound is not None:
            inbound.accepted(on_violation=self.ear.observer_broke_protocol)
            self.sink = frame_sink(self._scope)  # Only here, where nobody compresses.

    async def send_one(self, envelope: bytes, *, events: int = 1) -> None:
        """One frame. A send that has room does not wait, so the turn has to be given."""
        frame = event_frame(envelope)
        await self._send({"type": "websocket.send", "text": frame.decode()})
        self.feed.count(1, len(frame), events)
        self._last = envelope
        self._sent_in_turn = (self._sent_in_turn + 1) % _FRAMES_PER_TURN
        if self._sent_in_turn == 0:
            await asyncio.sleep(0)

    def take(self, run: Run) -> bool:
        """Send many events, now, by the sink; False: wait with `drain` before the next."""
        assert self.sink is not None
        frames = run.frames()
        events = len(run.lines)
        self.feed.count(events, len(frames), events)
        self._last = run.lines[-1]
        return self.sink.write(frames)

    async def drain(self) -> None:
        """Return when the observer has taken most of what was sent; of one that is gone, the ear hears."""
        assert self.sink is not None
        try:
            await self.sink.drain()
        except ConnectionError:
            await self.ear.wait_closed()

    def ended_by_stall(self) -> _Ended:
        """Why it is over for an observer that took no byte, and where it stood."""
        place = cursor_of(self._last).decode() if self._last else ""
        return _Ended(
            FeedDiagnosticCode.WEBSOCKET_ERROR,
            f"the observer took no byte for too long; it was sent what is up to {place or 'its snapshot'}",
            close_code=CLOSE_STALLED,
            reason=f"stalled at {place}" if place else "stalled",
        )

    async def say_goodbye(self, ended: _Ended, *, timeout_s: float) -> None:
        """Say why, and leave the observer the time to close its side."""
        text = diagnostic_frame(ended.code, str(ended)).decode()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._send({"type": "websocket.send", "text": text})
                close = {"type": "websocket.close", "code": ended.close_code}
                await self._send({**close, "reason": ended.reason} if ended.reason else close)
                await self.ear.wait_closed()


async def _why_over(observer: _Observer, speak: Callable[[], Awaitable[None]]) -> _Ended | None:
    """Speak until it is over; why it is (None: the observer left)."""
    try:
        heard = await observer.ear.speak_until_heard(speak)
    except _Ended as ended:
        return ended
    except Exception:  # noqa: BLE001 - whatever it is, the observer is told and the log has it.
        _LOG.exception("a feed failed")
        return _Ended(FeedDiagnosticCode.UNAVAILABLE, "the feed failed; the runtime's log says more")
    assert heard is not None, "a feed ends by a reason alone"
    if isinstance(heard, RuntimeFault):  # Version 1 has no word for it; who comes back is told by HTTP.
        return _Ended(FeedDiagnosticCode.UPSTREAM_CLOSED, f"the token of this feed no longer holds: {heard}")
    if heard is Heard.STALLED:
        return observer.ended_by_stall()
    return _ENDED_BY_OBSERVER.get(heard)


async def _send_all(reader: Reader, observer: _Observer) -> None:
    """Snapshot, backlog, live; ends by raising `_Ended`."""
    snapshot, reader.snapshot = reader.snapshot, b""  # It may be large, and a feed may be long.
    observer.feed.follow(lambda: reader.taken, lambda: reader.logs_behind(reader.taken))
    await observer.send_one(snapshot, events=0)
    del snapshot
    try:
        if observer.sink is None:
            await _send_each(reader, observer)
        else:
            await _send_runs(reader, observer)
    except CursorFault as fault:
        raise _ended_by_cursor(fault) from None
    except LogClosed as closed:
        raise _ended_by_close(reader, removed=closed.removed) from None


async def _send_each(reader: Reader, observer: _Observer) -> None:
    """Event by event, through the framework; never returns."""
    while True:
        for event in await reader.next_batch():
            reader.position = event.seq  # No further than what is being sent.
            await observer.send_one(event.line)


async def _send_runs(reader: Reader, observer: _Observer) -> None:
    """Many frames a call: behind the head at this observer's pace, there together with all; never returns."""
    while True:
        run = await reader.take_ready()
        if not run:
            await reader.listen(observer.take)
        elif observer.take(run):
            await asyncio.sleep(0)  # Others have their turn.
            continue
        await observer.drain()


async def _fail(ended: _Ended) -> None:
    raise ended


def _ended_by_cursor(fault: CursorFault) -> _Ended:
    return _Ended(_CURSOR_CODES[type(fault)], str(fault))


def _ended_by_close(reader: Reader, *, removed: bool) -> _Ended:
    if removed:
        return _Ended(FeedDiagnosticCode.WORKER_NOT_FOUND, str(WorkerNotFound(reader.worker_id)))
    return _Ended(
        FeedDiagnosticCode.UPSTREAM_CLOSED, "the runtime has stopped; what this worker said was sent whole"
    )


def _cursor(scope: Scope) -> str | None:
    """The query parameter of this name. Raises InvalidQuery."""
    given = query_parameters(scope).get("cursor", [])
    if len(given) > 1:
        raise InvalidQuery("cursor", ", ".join(given), "is given more than once")
    return given[0] if given else None
