"""Every open connection of a server: accepted, watched, closed. Hypercorn speaks, we own the sockets.

Hypercorn's own `serve` keeps its sockets to itself; with them here, promises
can be kept that it does not make:

* A peer that takes no byte for `stall_s` while something waits for it is
  dropped, HTTP and feed alike. "Takes" is what its TCP acknowledged (TCP_INFO,
  tcpi_bytes_acked): our own buffer can stand still for minutes in front of a
  slow peer whose socket buffer is large. "Waits" is what it has not acknowledged
  (tcp(7), SIOCOUTQ): bookmarks for a peer that vanished without a word fit into
  the kernel's buffer for hours, and the kernel itself gives up after 15 minutes.
* A connection on which nothing is asked does not stay for longer than
  `IDLE_S_MAX`, whatever was said on it before.
* There are never too many: the longest idle one makes room for the next (`room`).
* A stop is bounded: idle connections close at once, busy ones when their answer
  is out, and what is left after `close_s` is dropped.
* No connection and no task of one outlives the block.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from watchglass.protocol.base import WEBSOCKET_INBOUND_BYTES_MAX

from .asgi import App, Receive, Scope, Send
from .frames import EXTENSION, FrameSink
from .gathering import GatheringWriter
from .hypercorn_socket import (
    ClosingTCPServer,
    IdleTimer,
    hang_up_if_refused,
    hear_the_end_at_once,
    stop_hearing,
    writes_through,
)
from .room import Room

BACKLOG: Final = 1024
ACCEPTED_AT_ONCE: Final = 16
"""In one turn of the loop; it takes a few turns until one of them is known to be too many."""
KEEP_ALIVE_S: Final = 60.0
"""How long a connection may be idle, and how long the head of a request may take."""
IDLE_S_MAX: Final = 90.0
"""For connections that Hypercorn refused by itself and forgot."""
_LOOKS_PER_STALL: Final = 4
_TCP_INFO_BYTES: Final = 128
_BYTES_ACKED_AT: Final = 120
_STATE_KEY: Final = "watchglass.connection"
_LOG = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Connection:
    """One of them; a request finds its own in `scope["state"]`."""

    transport: asyncio.WriteTransport
    writer: GatheringWriter
    task: asyncio.Task[Any]
    asked_s: float
    requests: int = 0
    stalled: bool = False
    on_stall: Callable[[], None] | None = None
    """Told of a peer that takes nothing, one look before it is dropped."""
    progress: int = -1
    since_s: float = 0.0

    @property
    def is_asked(self) -> bool:
        """Whether something is being answered."""
        return bool(self.requests)


def connection_of(scope: Scope) -> Connection | None:
    """The connection that a request came by; None under another server."""
    found = scope.get("state", {}).get(_STATE_KEY)
    return found if isinstance(found, Connection) else None


class Connections:
    """The connections of one listening socket."""

    def __init__(self, app: App, *, stall_s: float, ready_frames: bool = True) -> None:
        """`ready_frames`: offer feeds the extension of `frames.py`."""
        self._app = app
        self._ready_frames = ready_frames
        self._config = _hypercorn_config()
        self._context = WorkerContext(None)
        self._stall_s = stall_s
        self._open: set[Connection] = set()
        self._idle: set[IdleTimer] = set()
        self._room = Room()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    @asynccontextmanager
    async def accepting(self, listener: socket.socket, *, close_s: float) -> AsyncIterator[None]:
        """Serve while the block runs; after it, every connection is closed."""
        server = await asyncio.start_server(self._serve, sock=listener, backlog=ACCEPTED_AT_ONCE)
        listener.listen(BACKLOG)
        watch = asyncio.create_task(self._watch(), name="stalled connections")
        try:
            yield
        finally:
            server.close()
            await self._context.terminated.set()
            for idle in list(self._idle):
                idle.end()
            await self._wait_closed(close_s)
            for connection in self._open:
                connection.transport.abort()
            await self._wait_closed(close_s)
            watch.cancel()
            await asyncio.wait([watch, *self._cancelled()])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        if not self._room.has_place(self._open, loop.time()):
            writer.transport.abort()
            return
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
        connection = connection_of(scope)
        assert connection is not None
        connection.requests += 1
        hear_the_end_at_once(send, receive)
        if self._ready_frames and scope["type"] == "websocket":
            self._offer_sink(scope, send, connection)
        try:
            await self._app(scope, receive, send)
            await hang_up_if_refused(send)
        finally:
            stop_hearing(send, receive)
            connection.requests -= 1
            connection.on_stall = None
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
                stalled_s = _stalled_s(connection, loop.time())
                if stalled_s >= self._stall_s and connection.on_stall is not None:
                    connection.on_stall()
                    connection.stalled, connection.on_stall = True, None
                elif stalled_s >= self._stall_s:
                    _LOG.warning("dropped a connection that took no byte for %g s", self._stall_s)
                    connection.stalled = True
                    connection.transport.abort()
                elif not connection.requests and loop.time() - connection.asked_s >= IDLE_S_MAX:
                    connection.transport.abort()

    async def _wait_closed(self, timeout_s: float) -> None:
        if self._open:
            await asyncio.wait([connection.task for connection in self._open], timeout=timeout_s)

    def _cancelled(self) -> list[asyncio.Task[Any]]:
        tasks = [connection.task for connection in self._open]
        for task in tasks:
            task.cancel()
        return tasks


def _stalled_s(connection: Connection, now_s: float) -> float:
    """For how long the peer has taken nothing of what waits for it."""
    progress = _progress(connection.transport)
    if progress is None or progress != connection.progress:
        connection.progress = -1 if progress is None else progress
        connection.since_s = now_s
    return now_s - connection.since_s


def _progress(transport: asyncio.WriteTransport) -> int | None:
    """A number that grows when the peer takes bytes; None when nothing waits for it."""
    try:
        peer = transport.get_extra_info("socket")
        if not transport.get_write_buffer_size() and not _unacknowledged_bytes(peer.fileno()):
            return None
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        acked: int = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)[0]
    except (OSError, struct.error):  # No TCP, or closed just now: nothing to count by.
        return None
    return acked


def _unacknowledged_bytes(descriptor: int) -> int:
    """What the kernel keeps for the peer; nothing of a socket that is closed. Raises OSError."""
    if descriptor < 0:
        return 0
    count: int = struct.unpack("=i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    return count


def _hypercorn_config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = 1 << 30
    config.websocket_max_message_size = WEBSOCKET_INBOUND_BYTES_MAX
    return config
