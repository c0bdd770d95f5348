"""The socket side of a session: accepted, heard, told why it ends.

refused before the upgrade:  host, origin, token, another subprotocol
the end:                     diagnostic, then a close with a code
    4400  what came cannot be answered      4408  the peer takes nothing
    1012  the server leaves; when to come back is in the diagnostic
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, cast

from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.session import (
    CLOSES,
    FRAME_BYTES_MAX,
    REASON_BYTES_MAX,
    SUBPROTOCOL,
    EndCode,
    SessionEnd,
)
from watchglass.runtime import Runtime

from .asgi import Message, Receive, Scope, Send
from .auth import Access, bracketed
from .callers import caller_of
from .commands import Desk
from .config import FeedBounds
from .connections import request_of
from .ear import Ear, Heard
from .feed_ends import spread_ms
from .frames import frame_sink
from .hypercorn_socket import feed_socket
from .leaving import Leaving
from .metrics import Metrics
from .observers import Observers
from .open_feeds import OpenFeeds
from .outbox import Outbox, PlainOutbox, ReadyOutbox
from .session import Session, Unanswerable
from .subscriptions import Subscriptions

_STALLED: Final = SessionEnd(
    code=EndCode.STALLED, message="the peer took no byte for too long; resume each subscription"
)
_BROKEN: Final = SessionEnd(
    code=EndCode.MALFORMED, message="what the peer sent breaks the WebSocket protocol"
)
_FAILED: Final = "the session failed; the runtime's log says more"
_TOO_MUCH: Final = SessionEnd(
    code=EndCode.MALFORMED, message=f"a frame is a text of at most {FRAME_BYTES_MAX} bytes"
)
_LOG = logging.getLogger(__name__)


class Sessions:
    """Serves sessions, and ends them when the server leaves."""

    def __init__(
        self,
        runtime: Runtime,
        leaving: Leaving,
        metrics: Metrics,
        open_feeds: OpenFeeds,
        access: Access,
        bounds: FeedBounds,
    ) -> None:
        self._runtime = runtime
        self._server_leaving = leaving
        self._metrics = metrics
        self._open_feeds = open_feeds
        self._observers = Observers(open_feeds)
        self._access = access
        self._bounds = bounds
        self._leaves = asyncio.Event()
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()

    async def leave(self) -> None:
        """Tell every peer when to come back; return when none is left."""
        self._leaves.set()
        await self._none_open.wait()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One session, from before the upgrade to its close. Raises (before it) InvalidRequest."""
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            raise InvalidRequest(f"a session is the WebSocket subprotocol {SUBPROTOCOL}; offer that")
        with self._opened():
            socket = _Socket(scope, receive, send)
            outbox = await socket.accept()
            subscriptions = Subscriptions(self._metrics, self._open_feeds, scope, self._bounds, outbox)
            session = Session(self._desk(scope), outbox, subscriptions, self._metrics.commands)
            try:
                await self._converse(socket, outbox, session, subscriptions)
            finally:
                await socket.ear.close()
                await session.aclose()
                await outbox.aclose()

    async def _converse(
        self, socket: _Socket, outbox: Outbox, session: Session, subscriptions: Subscriptions
    ) -> None:
        socket.session = session
        heard = await socket.ear.speak_until_heard(self._wait_leaves)
        if heard is Heard.CLOSED:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.close_s):
                if heard is None:
                    await session.wait_idle()
                    await subscriptions.wait_none_open()
                    last = SessionEnd(
                        code=EndCode.UPSTREAM_CLOSED,
                        message="the runtime has stopped",
                        retry_after_ms=spread_ms(),
                    )
                else:
                    assert isinstance(heard, Heard), "what a token gives is asked for each command and feed"
                    await session.aclose()
                    last = socket.why(heard)
                await socket.say_goodbye(outbox, last)

    async def _wait_leaves(self) -> None:
        await self._leaves.wait()

    def _desk(self, scope: Scope) -> Desk:
        host, port = cast("tuple[str, int]", scope["server"])
        return Desk(
            runtime=self._runtime,
            leaving=self._server_leaving,
            observers=self._observers,
            access=self._access,
            address=f"{bracketed(host)}:{port}",
            caller=caller_of(scope),
        )

    @contextmanager
    def _opened(self) -> Iterator[None]:
        self._open += 1
        self._none_open.clear()
        self._metrics.session_opened()
        try:
            yield
        finally:
            self._open -= 1
            self._metrics.session_closed()
            if not self._open:
                self._none_open.set()


class _Socket:
    """One peer's socket."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._ended_by: SessionEnd | None = None
        self.ear = Ear(receive, self._heard)
        self.session: Session | None = None

    async def accept(self) -> Outbox:
        """Answer the upgrade; what is told the peer goes through this."""
        inbound = feed_socket(self._send, on_data=self._too_much, kept_bytes_max=FRAME_BYTES_MAX)
        request = request_of(self._scope)
        if request is not None:
            request.on_stall = self.ear.observer_stalled
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        sink = None
        if inbound is not None:
            inbound.accepted(on_violation=self.ear.observer_broke_protocol, together=True)
            sink = frame_sink(self._scope)  # Only here, where nobody compresses.
        return PlainOutbox(self._send) if sink is None else ReadyOutbox(sink)

    def why(self, heard: Heard) -> SessionEnd:
        """Why it is over."""
        if heard is Heard.STALLED:
            return _STALLED
        if heard is Heard.BROKE_PROTOCOL:
            return _BROKEN
        return self._ended_by or _TOO_MUCH

    async def say_goodbye(self, outbox: Outbox, last: SessionEnd) -> None:
        """Say why it is over, and leave the peer the time to close its side."""
        outbox.put(last.model_dump_json(exclude_none=True).encode())
        await outbox.flush()
        reason = last.message.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
        await self._send({"type": "websocket.close", "code": CLOSES[last.code], "reason": reason})
        await self.ear.wait_closed()

    def _too_much(self) -> None:
        self._ended_by = self._ended_by or _TOO_MUCH
        self.ear.observer_spoke()

    async def _heard(self, message: Message) -> bool:
        """One frame; False: it is over."""
        if self._ended_by is not None or self.session is None:
            return True  # What comes behind the last frame that counts.
        try:
            for text in message.get("texts") or (message.get("text") or "",):
                await self.session.take(text)
        except Unanswerable as fault:
            self._ended_by = SessionEnd(code=EndCode.MALFORMED, message=str(fault))
        except Exception:  # noqa: BLE001 - our bug: the log has it whole, the peer is told.
            _LOG.exception("a session failed")
            self._ended_by = SessionEnd(code=EndCode.UNAVAILABLE, message=_FAILED, retry_after_ms=spread_ms())
        return self._ended_by is None
