"""Readers of a feed for asyncio and trio: `protocol.follow` with a socket.

    async with wg.follow(worker_id, after=cursor) as events:
        async for event in events: ...

A reader comes back by itself after a lost connection, after jittered waits, and
gives up when nothing has answered for `patience_s`. It takes from its socket
what it is asked for and a few frames more, so a slow consumer slows that socket
and nothing else. Whoever leaves, however it leaves, leaves no connection open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from watchglass.protocol.follow import CLOSED_NORMALLY, OnExpired
from watchglass.protocol.follow_all import Workers, following
from watchglass.protocol.said import Farewell, Said

from .address import Address
from .jitter import jitter
from .journey import PATIENCE_S, SETTLE_TIMEOUT_S, Journey
from .sockets import FeedSocket, Loop, SocketLost, UpgradeRefused, next_frame
from .standing import AsyncReader, EventsAlone, Everything


class Feeds:
    """How the readers of one client open their sockets, and which are open."""

    def __init__(self, where: Callable[[], Address], loop: Loop) -> None:
        self.where = where
        self.loop = loop
        self.open: set[FeedSocket] = set()
        self.closed = False

    async def aclose(self) -> None:
        """No socket is left, whoever may have forgotten it."""
        self.closed = True
        for socket in self.open:
            socket.abandon()
        self.open.clear()
        await self.loop.sleep(0)


class Reader(AsyncReader):
    """One worker's feed, or a runtime's, over any number of connections; belongs to one task at a time.

    Iterating raises `FeedRefused` (the feed's last word is final),
    `FeedViolation`, `ApiError` (refused before the feed began) and `Unreachable`
    (given up). A reader that was cancelled may be asked again: it goes on
    behind what it gave out last.
    """

    def __init__(
        self,
        feeds: Feeds,
        whose: str | Workers,
        after: str,
        *,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
        patience_s: float = PATIENCE_S,
    ) -> None:
        """See `Following`. Raises CursorMalformed."""
        self._socket: FeedSocket | None = None
        self._feeds = feeds
        self._following = following(whose, after, types=types, on_expired=on_expired)
        self._journey = Journey(self._following, time.monotonic(), patience_s=patience_s)
        self._url = ""
        self._taken: Iterator[Said | Farewell] = iter(())
        self._wait_s = 0.0
        self._left = False

    @property
    def version(self) -> int:
        """Which version of the feed the newest connection speaks."""
        return self._following.version

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self._journey.connections

    async def aclose(self) -> None:
        """See `AsyncReader`."""
        self._left = True
        socket, self._socket = self._socket, None
        if socket is not None:
            self._feeds.open.discard(socket)
            await socket.aclose()

    def __del__(self) -> None:
        self._abandon()  # Somebody broke out of a loop, and nobody holds this reader any more.

    async def _next(self) -> Said:
        try:
            while not (self.ended or self._left or self._feeds.closed):
                said = next(self._taken, None)  # It may be the end that nobody wanted to be told of.
                if said is None:
                    await self._advance()
                elif isinstance(said, Farewell):
                    self._lose(said.message)
                else:
                    return said
            await self.aclose()
        except BaseException:
            self._abandon()
            raise
        raise StopAsyncIteration

    async def _advance(self) -> None:
        """Connect, or take a frame, or see that there is none to come."""
        if self.ended:
            return
        if self._socket is None:
            await self._connect()
            return
        try:
            frame = await self._frame(self._socket)
        except SocketLost as loss:
            self._lose(f"the connection was lost ({loss})", loss.code)
            return
        if frame is None:  # It had ended at the join, and has no more to say.
            self._lose("the worker has ended", CLOSED_NORMALLY)
        else:
            self._taken = self._following.take(frame)

    async def _connect(self) -> None:
        wait_s, self._wait_s = self._wait_s, 0.0
        await self._feeds.loop.sleep(wait_s)
        address = self._feeds.where()
        self._url = address.url
        self._journey.begin(time.monotonic())
        try:
            socket = await self._feeds.loop.open(address, self._journey.target)
        except UpgradeRefused as refusal:
            self._journey.refused(refusal.answer)
            self._lose(self._journey.last_loss)
        except SocketLost as loss:
            self._lose(str(loss))
        else:
            self._socket = socket
            self._feeds.open.add(socket)
            self._journey.opened(socket.subprotocol)

    async def _frame(self, socket: FeedSocket) -> str | bytes | None:
        """The next frame, from a server that is alive; None when a settled worker says no more."""
        if self._following.settled:
            return await socket.receive(SETTLE_TIMEOUT_S)
        return await next_frame(socket)

    def _lose(self, why: str, close_code: int | None = None) -> None:
        """This connection is over; the next one is tried after a while."""
        self._abandon()
        self._journey.last_loss = why
        self._wait_s = self._journey.lost(
            time.monotonic(), url=self._url, jitter=jitter(), close_code=close_code
        )

    def _abandon(self) -> None:
        """Whatever was taken of a frame and not given out comes again by the cursor."""
        self._taken = iter(())
        socket, self._socket = self._socket, None
        if socket is not None:
            self._feeds.open.discard(socket)
            with suppress(RuntimeError):  # Its loop is over, and so is the socket.
                socket.abandon()


class Watch(Everything, Reader):
    """Everything that a feed says: `Joined` at a connection, `Told` for an event, `Reset`."""


class Follow(EventsAlone, Reader):
    """The events of a worker until it has ended, or of many, each once, in order."""
