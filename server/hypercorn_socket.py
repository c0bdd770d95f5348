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
* Hypercorn reads each message by itself, in pure Python. A session's come by the
  thousand: those that are whole are split off at once, all of one read together.
* Hypercorn drops a client that breaks the protocol without a word. A feed says
  why it ends, so the violation is told to it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Event as HypercornEvent
from hypercorn.events import Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import Handshake, WebsocketBuffer, WSStream
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Message, TextMessage

from watchglass.protocol.client_frames import ClientFrames, FrameTooLarge
from watchglass.protocol.errors import InvalidRequest

from .asgi import Send
from .gathering import GatheringWriter


class ClosingTCPServer(TCPServer):
    """Hypercorn's connection, gone when the client is."""

    _client_left = False

    async def protocol_send(self, event: HypercornEvent) -> None:
        """See `TCPServer.protocol_send`; nobody waits for a client that has left to ask again."""
        if not (self._client_left and isinstance(event, Updated)):
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        await super()._read_data()
        self._client_left = True
        await self.idle_task.stop()


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
            InvalidRequest: It spoke before that; Hypercorn has refused it, and tells nobody.
        """
        if self._stream.closed:
            raise InvalidRequest("nothing may be sent before the upgrade is answered")
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


def writes_through(send: Send, writer: GatheringWriter) -> bool:
    """Whether what this WebSocket sends is written to this writer at once, as it is: HTTP/1.1 without TLS."""
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    return (
        isinstance(stream, WSStream)
        and isinstance(protocol, H11Protocol)
        and isinstance(server, ClosingTCPServer)
        and getattr(server, "writer", None) is writer
        and not protocol.ssl
    )


class _Together:
    """Stands before a connection, and splits off what it need not see."""

    def __init__(self, connection: Connection, buffer: WebsocketBuffer) -> None:
        assert isinstance(buffer, _Brief), "texts are kept"
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
        self.length += len(data if isinstance(event, BytesMessage) or data.isascii() else data.encode())
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


def _ignore(data: bytes | None) -> None:
    pass
