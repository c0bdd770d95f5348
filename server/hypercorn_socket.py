"""What we need of Hypercorn 0.18 and what it has no setting for. The only place that knows its inside.

Under another server, or when Hypercorn's inside is another one, `feed_socket`
gives None: the feed then works with what ASGI promises alone.

* Hypercorn accepts permessage-deflate whenever it is offered. Compression has
  its own state for every connection, so encoded frames could not be shared; we
  forget the offer before the handshake is answered.
* Hypercorn gathers what a client sends until a message is whole, and goes on
  gathering after a message that is over its bound. A feed takes no messages,
  or (version 2) short texts alone: the first byte that is too much is noticed
  and thrown away.
* Hypercorn keeps a connection that its client has closed until the keep-alive
  time is over, because the task that counts that time belongs to it.
* Hypercorn begins a task and cancels another with each request, to count the time
  for which nothing is asked. Here a timer of the loop does that.
* Hypercorn reads each message by itself, in pure Python. A session's come by the
  thousand: those that are whole are split off at once, all of one read together.
* Hypercorn drops a client that breaks the protocol without a word. A feed says
  why it ends, so the violation is told to it instead.
* Hypercorn refuses a WebSocket whose client speaks before the upgrade, tells
  the application nothing, and leaves the connection open.
* Hypercorn queues what a client says, and waits for room in that queue before it
  tells that the client has left: for ever, where the application has returned or
  is answering the client at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event as HypercornEvent
from hypercorn.events import Updated
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import Handshake, WebsocketBuffer, WSStream
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Message, TextMessage

from watchglass.protocol.client_frames import ClientFrames, FrameTooLarge

from .asgi import Receive, Send
from .gathering import GatheringWriter
from .hypercorn_http1 import Http1
from .hypercorn_http2 import Http2


class IdleTimer:
    """Ends a connection on which nothing is asked; in the place of Hypercorn's task and its waits.

    That task is begun and cancelled with each request, which costs more than most requests do.
    """

    __slots__ = ("_act", "_server", "_waiting")

    def __init__(self, server: TCPServer, waiting: set[IdleTimer]) -> None:
        """`waiting` has those that are idle."""
        self._server = server
        self._waiting = waiting
        self._act: asyncio.TimerHandle | None = None

    async def restart(self, _task_group: object, _action: object) -> None:
        """From now on nothing is asked."""
        await self.stop()
        server = self._server
        self._act = server.loop.call_later(server.config.keep_alive_timeout, self.end)
        self._waiting.add(self)
        if server.context.terminated.is_set():
            self.end()

    async def stop(self) -> None:
        """Something is asked, or it is over."""
        if self._act is not None:
            self._act.cancel()
            self._act = None
        self._waiting.discard(self)

    def end(self) -> None:
        """Close the connection, which is idle."""
        self._waiting.discard(self)
        self._server._task_group.spawn(self._server._initiate_server_close)


class ClosingTCPServer(TCPServer):
    """Hypercorn's connection, gone when the client is."""

    _client_left = False

    def __init__(self, *args: Any, idle: set[IdleTimer]) -> None:
        """As Hypercorn's; while nothing is asked, it is among `idle`."""
        super().__init__(*args)
        self.idle_task = IdleTimer(self, idle)  # type: ignore[assignment]  # All of one that is used.

    async def protocol_send(self, event: HypercornEvent) -> None:
        """See `TCPServer.protocol_send`; nobody waits for a client that has left to ask again."""
        if not (self._client_left and isinstance(event, Updated)):
            await super().protocol_send(event)

    async def _initiate_server_close(self) -> None:
        protocol = self.protocol.protocol
        if isinstance(protocol, Http2):
            with suppress(RuntimeError):  # Closed meanwhile.
                self.writer.write(protocol.goodbye())
        await super()._initiate_server_close()

    async def _read_data(self) -> None:
        await super()._read_data()
        self._client_left = True
        await self.idle_task.stop()


class NotUpgraded(Exception):
    """The client left before the upgrade was answered, or spoke, and was refused for it."""


class FeedSocket:
    """The inbound side of one feed's connection."""

    def __init__(self, stream: WSStream, *, on_data: Callable[[], None], kept_bytes_max: int) -> None:
        self._stream = stream
        stream.handshake.extensions = None
        stream.buffer = _Brief(on_data, kept_bytes_max) if kept_bytes_max else _Unkept(on_data)

    def accepted(self, *, on_violation: Callable[[], None], together: bool = False) -> None:
        """The handshake is answered: from now on, hear of a client that breaks the protocol.

        `together`: texts that are whole come as one message, `{"texts": [bytes, …]}`.

        Raises:
            NotUpgraded: It was not.
        """
        if not self._stream.handshake.accepted:
            raise NotUpgraded
        connection = self._stream.connection
        if together:
            _Together(connection, self._stream.buffer)
        events = connection.events

        def watched() -> Generator[Event, None, None]:
            for event in events():
                if isinstance(event, CloseConnection) and connection.state is ConnectionState.OPEN:
                    # What follows cannot be understood.
                    connection.receive_data = _ignore  # type: ignore[method-assign]  # Of this one connection.
                    on_violation()
                    return
                yield event

        connection.events = watched  # type: ignore[method-assign]  # As above.


def feed_socket(send: Send, *, on_data: Callable[[], None], kept_bytes_max: int = 0) -> FeedSocket | None:
    """Before the upgrade: no compression, and `on_data` is called for every piece of data from the client.

    With `kept_bytes_max`, texts up to that size are messages as ASGI has them, and
    `on_data` is called for what is more, or no text.
    """
    stream = getattr(send, "__self__", None)
    if isinstance(stream, WSStream) and isinstance(getattr(stream, "handshake", None), Handshake):
        return FeedSocket(stream, on_data=on_data, kept_bytes_max=kept_bytes_max)
    return None


async def hang_up_if_refused(send: Send) -> None:
    """End the connection of a WebSocket that Hypercorn refused while the application was asked."""
    stream = getattr(send, "__self__", None)
    if isinstance(stream, WSStream) and stream.closed and not stream.handshake.accepted:
        await stream.send(StreamClosed(stream_id=stream.stream_id))


def hear_the_end_at_once(send: Send, receive: Receive) -> None:
    """That a WebSocket's client has left is told before all that it said and nobody has heard."""
    stream = getattr(send, "__self__", None)
    queue = getattr(receive, "__self__", None)
    if not isinstance(stream, WSStream) or not isinstance(queue, asyncio.Queue):
        return
    put = queue.put

    async def put_first(message: dict[str, object]) -> None:
        if message["type"] == "websocket.disconnect":
            _empty(queue)
            queue.put_nowait(message)
        else:
            await put(message)

    stream.app_put = put_first


def stop_hearing(send: Send, receive: Receive) -> None:
    """The application has returned: what its client still says goes nowhere, and nothing waits for it."""
    stream = getattr(send, "__self__", None)
    queue = getattr(receive, "__self__", None)
    if isinstance(stream, WSStream | HTTPStream) and isinstance(queue, asyncio.Queue):
        stream.app_put = _unheard
        _empty(queue)


def writes_through(send: Send, writer: GatheringWriter) -> bool:
    """Whether what this WebSocket sends is written to this writer at once, as it is: HTTP/1.1."""
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    return (
        isinstance(stream, WSStream)
        and isinstance(protocol, Http1)
        and isinstance(server, ClosingTCPServer)
        and getattr(server, "writer", None) is writer
    )


class _Together:
    """Stands before a connection, and splits off what it need not see."""

    def __init__(self, connection: Connection, buffer: WebsocketBuffer) -> None:
        assert isinstance(buffer, _Brief), "texts are kept"
        self._connection = connection
        self._frames = ClientFrames(buffer.max_length)
        self._receive, self._events = connection.receive_data, connection.events
        self._on_excess = buffer.on_excess
        self._come: bytes | None = b""
        connection.receive_data = self._take  # type: ignore[method-assign]  # Of this one connection.
        connection.events = self._split  # type: ignore[method-assign]  # As above.

    def _take(self, data: bytes | None) -> None:
        self._come = data

    def _split(self) -> Generator[Event, None, None]:
        come, self._come = self._come, b""
        if come is None:
            self._receive(None)
            yield from self._events()
            return
        try:
            for found in self._frames.split(come):
                if isinstance(found, list):
                    yield _Texts(found)
                else:
                    self._receive(found)
                    yield from self._events()
                    if self._connection.state is not ConnectionState.OPEN:
                        self._frames.ignore()  # Behind a close there is nothing (RFC 6455, 5.5.1).
                        return
        except FrameTooLarge:
            self._frames.ignore()
            self._on_excess()


class _Texts(TextMessage):
    """Many of them, each whole."""

    def __init__(self, texts: list[bytes]) -> None:
        super().__init__(data="")
        object.__setattr__(self, "texts", texts)

    texts: list[bytes]


class _Unkept(WebsocketBuffer):
    """Keeps nothing of what comes in."""

    def __init__(self, on_data: Callable[[], None]) -> None:
        super().__init__(max_length=0)
        self._on_data = on_data

    def extend(self, event: Message[Any]) -> None:  # noqa: ARG002 - its content is nobody's business.
        self._on_data()

    def to_message(self) -> dict[str, object]:
        return {"type": "websocket.receive", "bytes": None, "text": ""}


class _Brief(WebsocketBuffer):
    """Keeps one short text."""

    def __init__(self, on_excess: Callable[[], None], kept_bytes_max: int) -> None:
        super().__init__(max_length=kept_bytes_max)
        self.on_excess = on_excess
        self._pieces: list[str] = []
        self._texts: list[bytes] = []

    def extend(self, event: Message[Any]) -> None:
        if isinstance(event, _Texts):
            self._texts = event.texts
            return
        data = event.data
        size_bytes = len(data if isinstance(event, BytesMessage) or data.isascii() else data.encode())
        self.length += max(1, size_bytes)  # Or empty pieces would have no bound.
        if isinstance(event, TextMessage) and self.length <= self.max_length:
            self._pieces.append(event.data)
        else:
            self.on_excess()

    def clear(self) -> None:
        super().clear()
        self._pieces.clear()
        self._texts = []

    def to_message(self) -> dict[str, object]:
        if self._texts:
            return {"type": "websocket.receive", "texts": self._texts}
        return {"type": "websocket.receive", "bytes": None, "text": "".join(self._pieces)}


def _empty(queue: asyncio.Queue[Any]) -> None:
    """Throw away what is in it; who waits to put something is woken."""
    while not queue.empty():
        queue.get_nowait()


async def _unheard(_message: object) -> None:
    pass


def _ignore(data: bytes | None) -> None:
    pass
