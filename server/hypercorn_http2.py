"""HTTP/2 as Hypercorn 0.18 speaks it, and what it has no answer to. It too knows its inside.

* HTTP/2 has windows of its own: a peer may take bytes of one answer and none of
  another, for ever, while TCP sees a connection that goes on. So it is counted
  what was taken of each stream, and one stream can be ended alone.
* h2 refuses a frame that is too long when it has all of it, which may be 16 MiB.
* Hypercorn keeps what waited on a stream that was reset, and who waits for room on it.
* Hypercorn falls over what still comes of a request that is answered (RFC 9113, 8.1:
  the answer need not wait for it), and over what no client sends by accident: no path,
  or one that is no ASCII, priorities for a thousand streams. One connection carries many
  feeds; so the first is ignored, the second ends its stream, and only the third
  the connection, with a word.
* It takes every protocol for a WebSocket, and begins on requests whose reset it has read
  already: many a client's way of making a server work for nothing (CVE-2023-44487).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import hypercorn.protocol
import hypercorn.protocol.h2
from h2.errors import ErrorCodes
from h2.events import Event as H2Event
from h2.events import RequestReceived, StreamReset
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as HypercornEvent
from hypercorn.protocol.events import Event
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import WSStream
from priority.priority import MissingStreamError, PriorityError

from .asgi import Send

_HEAD_BYTES: Final = 9
_READ_AS_ASCII: Final = frozenset(
    {b":method", b":path", b"sec-websocket-extensions", b"sec-websocket-protocol", b"connection"}
)


class CountingBuffer(StreamBuffer):
    """What waits of one answer; `taken_bytes` says how much no longer does."""

    taken_bytes = 0

    async def pop(self, max_length: int) -> bytes:
        data = await super().pop(max_length)
        self.taken_bytes += len(data)
        return data


class Http2(H2Protocol):
    """One connection."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.streams = _Streams()

    async def handle(self, event: HypercornEvent) -> None:
        """As Hypercorn's."""
        await super().handle(event)
        if isinstance(event, RawData) and self._awaits_too_much():
            self.connection.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
            await self._flush()
            await self.send(Closed())

    def goodbye(self) -> bytes:
        """What a connection is closed with, on which nothing is asked: what comes now was not heard."""
        with suppress(ProtocolError):
            self.connection.close_connection()
        return bytes(self.connection.data_to_send())

    def _awaits_too_much(self) -> bool:
        """Whether the frame that is not whole yet says that it is longer than any may be (RFC 9113, 4.2)."""
        begun = getattr(self.connection.incoming_buffer, "_data", b"")
        size_bytes = int.from_bytes(begun[:3])
        return len(begun) >= _HEAD_BYTES and size_bytes > self.connection.max_inbound_frame_size

    async def _handle_events(self, events: list[H2Event]) -> None:
        gone = {event.stream_id for event in events if isinstance(event, StreamReset)}
        heard = [
            event for event in events if not (isinstance(event, RequestReceived) and event.stream_id in gone)
        ]
        try:
            await super()._handle_events(heard)
        except PriorityError:
            self.connection.close_connection(ErrorCodes.PROTOCOL_ERROR)
            await self._flush()
            await self.send(Closed())
        for event in events:
            if isinstance(event, StreamReset) and event.stream_id is not None:
                await self._forget(event.stream_id)

    async def _create_stream(self, request: RequestReceived) -> None:
        if not _can_be_served(request.headers):
            self.connection.reset_stream(request.stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        try:
            await super()._create_stream(request)
        except PriorityError:
            del self.streams[request.stream_id]  # It has not begun, so it cannot be told of its end.
            raise

    async def end_stream(self, stream_id: int) -> None:
        """Reset one; its application is told that the client has left."""
        try:
            self.connection.reset_stream(stream_id, ErrorCodes.CANCEL)
        except ProtocolError:  # It is over by itself.
            return
        await self._close_stream(stream_id)
        await self._forget(stream_id)
        await self._flush()

    async def _forget(self, stream_id: int) -> None:
        """Of one that was reset: who waits for room on it goes on, and nothing of it is kept."""
        buffer = self.stream_buffers.pop(stream_id, None)
        if buffer is not None:
            await buffer.close()
            with suppress(MissingStreamError):
                self.priority.remove_stream(stream_id)


def _can_be_served(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    said = dict(headers)
    return (
        b":path" in said
        and said.get(b":protocol", b"websocket") == b"websocket"
        and all(value.isascii() for name, value in headers if name in _READ_AS_ASCII)
    )


class _Streams(dict[int, HTTPStream | WSStream]):
    """Those that are open; one that is not hears nothing."""

    def __missing__(self, stream_id: int) -> _Over:
        return _Over()


class _Over:
    """A stream whose answer is out."""

    async def handle(self, event: Event) -> None:
        """It comes too late."""


class Stream:
    """One request's answer on its way, among others on its connection."""

    def __init__(self, protocol: Http2, stream_id: int) -> None:
        self._protocol = protocol
        self._id = stream_id

    @property
    def waiting_bytes(self) -> int:
        """What waits for room on it."""
        buffer = self._protocol.stream_buffers.get(self._id)
        return 0 if buffer is None else len(buffer.buffer)

    @property
    def progress(self) -> int | None:
        """A number that grows when the peer takes bytes; None when nothing waits for it."""
        buffer = self._protocol.stream_buffers.get(self._id)
        return buffer.taken_bytes if isinstance(buffer, CountingBuffer) and buffer.buffer else None

    def end(self) -> None:
        """Reset it, soon."""
        self._protocol.task_group.spawn(self._protocol.end_stream, self._id)


def stream_of(send: Send) -> Stream | None:
    """The stream of a request; None where a connection has one request at a time."""
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    if isinstance(stream, HTTPStream | WSStream) and isinstance(protocol, Http2):
        return Stream(protocol, stream.stream_id)
    return None


setattr(hypercorn.protocol, H2Protocol.__name__, Http2)  # By these names Hypercorn makes them.
setattr(hypercorn.protocol.h2, StreamBuffer.__name__, CountingBuffer)
