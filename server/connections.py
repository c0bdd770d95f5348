"""Every open connection of a server: accepted, watched, closed. Hypercorn speaks, we own the sockets.

Hypercorn's own `serve` keeps its sockets to itself; with them here, promises
can be kept that it does not make:

* A peer that takes no byte for `stall_s` while something waits for it is
  dropped, HTTP and feed alike (`standstill`). Over HTTP/2 each answer is watched
  by itself, and one that is not taken is ended without the others.
* A connection on which nothing is asked does not stay for longer than
  `IDLE_S_MAX`, whatever was said on it before.
* There are never too many: the longest idle one makes room for the next (`room`).
* A stop is bounded: idle connections close at once, busy ones when their answer
  is out, and what is left after `close_s` is dropped.
* No connection and no task of one outlives the block.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from watchglass.protocol.base import WEBSOCKET_INBOUND_BYTES_MAX

from .asgi import App, Receive, Scope, Send
from .frames import EXTENSION, FrameSink
from .gathering import GatheringWriter
from .hypercorn_http2 import Stream, stream_of
from .hypercorn_socket import (
    ClosingTCPServer,
    IdleTimer,
    hang_up_if_refused,
    hear_the_end_at_once,
    stop_hearing,
    writes_through,
)
from .room import Guest, Room
from .secure_streams import SecureStreams
from .standstill import Standstill, tcp_progress

BACKLOG: Final = 1024
ACCEPTED_AT_ONCE: Final = 16
"""In one turn of the loop; it takes a few turns until one of them is known to be too many."""
KEEP_ALIVE_S: Final = 60.0
"""How long a connection may be idle, and how long the head of a request may take."""
IDLE_S_MAX: Final = 90.0
"""For connections that Hypercorn refused by itself and forgot."""
_LOOKS_PER_STALL: Final = 4
_STATE_KEY: Final = "watchglass.connection"
_REQUEST_KEY: Final = "watchglass.request"
_LOG = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Connection:
    """One of them."""

    transport: asyncio.WriteTransport
    writer: GatheringWriter
    task: asyncio.Task[Any]
    asked_s: float
    requests: set[Request] = field(default_factory=set)
    stalled: bool = False
    still: Standstill = field(default_factory=Standstill)

    @property
    def is_asked(self) -> bool:
        """Whether something is being answered."""
        return bool(self.requests)


@dataclass(slots=True, eq=False)
class Request:
    """One that is being answered; its application finds it by `request_of`."""

    transport: asyncio.WriteTransport
    stream: Stream | None
    """Where its connection has others beside it."""
    stalled: bool = False
    on_stall: Callable[[], None] | None = None
    """Told of a peer that takes nothing, one look before it is dropped."""
    still: Standstill = field(default_factory=Standstill)

    @property
    def waiting_bytes(self) -> int:
        """What the peer has not taken of the answer, as far as it is here and not in the kernel."""
        return self.transport.get_write_buffer_size() + (self.stream.waiting_bytes if self.stream else 0)

    def tell_stalled(self) -> bool:
        """Whether there was somebody to tell of it, who was not told yet."""
        told, self.on_stall, self.stalled = self.on_stall, None, True
        if told is not None:
            told()
        return told is not None


def request_of(scope: Scope) -> Request | None:
    """The request as its connection knows it; None under another server."""
    found = scope.get("state", {}).get(_REQUEST_KEY)
    return found if isinstance(found, Request) else None


class Connections:
    """The connections of one listening socket."""

    def __init__(
        self, app: App, *, stall_s: float, ready_frames: bool = True, tls: ssl.SSLContext | None = None
    ) -> None:
        """`ready_frames`: offer feeds the extension of `frames.py`. With `tls`, it is what is spoken."""
        self._app = app
        self._ready_frames = ready_frames
        self._config = _hypercorn_config()
        self._context = WorkerContext(None)
        self._stall_s = stall_s
        self._open: set[Connection] = set()
        self._idle: set[IdleTimer] = set()
        self._room = Room()
        self._secure = None if tls is None else SecureStreams(tls, self._serve, has_place=self._has_place)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    @asynccontextmanager
    async def accepting(self, listener: socket.socket, *, close_s: float) -> AsyncIterator[None]:
        """Serve while the block runs; after it, every connection is closed."""
        server = await self._listen(listener)
        listener.listen(BACKLOG)
        watch = asyncio.create_task(self._watch(), name="stalled connections")
        try:
            yield
        finally:
            server.close()
            if self._secure is not None:
                await self._secure.stop()
            await self._context.terminated.set()
            for idle in list(self._idle):
                idle.end()
            await self._wait_closed(close_s)
            for connection in self._open:
                connection.transport.abort()
            await self._wait_closed(close_s)
            watch.cancel()
            await asyncio.wait([watch, *self._cancelled()])

    async def _listen(self, listener: socket.socket) -> asyncio.Server:
        if self._secure is not None:
            return await self._secure.listen(listener, ACCEPTED_AT_ONCE)
        return await asyncio.start_server(self._accept, sock=listener, backlog=ACCEPTED_AT_ONCE)

    def _has_place(self, shaking: Collection[Guest] = ()) -> bool:
        """Whether one more connection may come, beside those that are open and those that shake hands."""
        present = [*self._open, *shaking] if shaking else self._open
        return self._room.has_place(present, asyncio.get_running_loop().time())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._has_place():
            await self._serve(reader, writer)
        else:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        connection = Connection(writer.transport, GatheringWriter(writer), task, loop.time())
        self._open.add(connection)
        try:
            await ClosingTCPServer(
                ASGIWrapper(self._ask),  # type: ignore[arg-type]  # ASGI in our words.
                loop,
                self._config,
                self._context,
                {_STATE_KEY: connection},
                reader,
                connection.writer,  # All of a stream writer that Hypercorn uses.
                idle=self._idle,
            )
        except Exception:  # noqa: BLE001 - one connection's failure is not the server's.
            _LOG.exception("a connection failed")
        finally:
            writer.transport.abort()  # Closed already, unless something failed.
            self._open.discard(connection)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, with the connection knowing that it is asked something."""
        connection = scope["state"][_STATE_KEY]
        assert isinstance(connection, Connection)
        request = scope["state"][_REQUEST_KEY] = Request(connection.transport, stream_of(send))
        connection.requests.add(request)
        hear_the_end_at_once(send, receive)
        if self._ready_frames and scope["type"] == "websocket":
            self._offer_sink(scope, send, connection)
        try:
            await self._app(scope, receive, send)
            await hang_up_if_refused(send)
        finally:
            stop_hearing(send, receive)
            connection.requests.discard(request)
            connection.asked_s = asyncio.get_running_loop().time()

    def _offer_sink(self, scope: Scope, send: Send, connection: Connection) -> None:
        if writes_through(send, connection.writer):
            scope["extensions"][EXTENSION] = FrameSink(connection.writer)
        elif scope["http_version"] == "1.1":
            self._ready_frames = False
            _LOG.warning("frames are sent one by one: Hypercorn's inside is not the one that we know")

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._stall_s / _LOOKS_PER_STALL)
            for connection in list(self._open):
                self._look_at(connection, loop.time())

    def _look_at(self, connection: Connection, now_s: float) -> None:
        if connection.still.seconds(tcp_progress(connection.transport), now_s) >= self._stall_s:
            connection.stalled = True
            if not sum([request.tell_stalled() for request in connection.requests]):
                _LOG.warning("dropped a connection that took no byte for %g s", self._stall_s)
                connection.transport.abort()
        elif not connection.requests and now_s - connection.asked_s >= IDLE_S_MAX:
            connection.transport.abort()
        for request in connection.requests:
            self._look_at_stream(request, now_s)

    def _look_at_stream(self, request: Request, now_s: float) -> None:
        stream = request.stream
        if stream is None or request.still.seconds(stream.progress, now_s) < self._stall_s:
            return
        if not request.tell_stalled():
            _LOG.warning("dropped an answer of which no byte was taken for %g s", self._stall_s)
            stream.end()

    async def _wait_closed(self, timeout_s: float) -> None:
        if self._open:
            await asyncio.wait([connection.task for connection in self._open], timeout=timeout_s)

    def _cancelled(self) -> list[asyncio.Task[Any]]:
        tasks = [connection.task for connection in self._open]
        for task in tasks:
            task.cancel()
        return tasks


def _hypercorn_config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = 1 << 30
    config.websocket_max_message_size = WEBSOCKET_INBOUND_BYTES_MAX
    return config
