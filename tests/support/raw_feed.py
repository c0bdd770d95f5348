"""An observer that is a socket and nothing more: it sends any bytes at any time, and reads when it likes.

Blocking, from the standard library alone; a test that needs many of them has
`crowd.py`. Every wait is bounded by `PATIENCE_S`.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from .feed import UPGRADE
from .patience import PATIENCE_S
from .serving import Served

SMALL_BYTES = 4096
"""A receive buffer that is full soon."""
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
V2 = "watchglass.feed.v2"
SESSION = "watchglass.session.v1"
_SO_ATTACH_FILTER = 26
_MASK = b"\x37\xfa\x21\x3d"
_LINGER_NOTHING = struct.pack("ii", 1, 0)

SOCKETS = ("v1", "v2", "everybody", "session")
TRANSPORTS = (*SOCKETS, "sse", "long_poll")
FIRST = {"v1": b'"snapshot:', "sse": b"feed.sync", "long_poll": b"HTTP/1.1 200"}
"""What comes when a feed is at the head; of the others a `sync`."""


def request(
    served: Served, path: str, headers: dict[str, str] | None = None, *, method: str = "GET"
) -> bytes:
    """The head of a request, with the token."""
    sent = {
        "Host": f"{served.host}:{served.port}",
        "Authorization": f"Bearer {served.token}",
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def asking(served: Served, transport: str, worker_id: str, query: str = "") -> bytes:
    """What asks for the events of a worker on a transport; in a session `joined` asks once more."""
    path = f"/v1/workers/{worker_id}/events"
    if transport == "sse":
        return request(served, f"{path}{query}", {"Accept": "text/event-stream"})
    if transport == "long_poll":
        return request(served, f"{path}{query}")
    if transport == "everybody":
        return request(served, "/v1/events/ws?workers=*", {**UPGRADE, "Sec-WebSocket-Protocol": V2})
    if transport == "session":
        return request(served, "/v1/session/ws", {**UPGRADE, "Sec-WebSocket-Protocol": SESSION})
    offer = {"Sec-WebSocket-Protocol": V2} if transport == "v2" else {}
    return request(served, f"{path}/ws{query}", {**UPGRADE, **offer})


def frame(
    opcode: int, content: bytes = b"", *, final: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    """A frame as RFC 6455 has it (section 5.2), or as it must not be."""
    first = (0x80 if final else 0) | rsv << 4 | opcode
    bit, size = (0x80 if masked else 0), len(content)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + content
    mask = (_MASK * (size // 4 + 1))[:size]
    hidden = int.from_bytes(content) ^ int.from_bytes(mask)
    return head + _MASK + hidden.to_bytes(size)


class RawFeed:
    """One connection."""

    def __init__(self, served: Served, *, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect((served.host, served.port))

    def send(self, content: bytes) -> None:
        """All of it. Raises OSError."""
        self.socket.sendall(content)

    def until(self, wanted: bytes) -> bytes:
        """What comes, up to the piece in which `wanted` was complete."""
        came = b""
        while wanted not in came:
            piece = self.socket.recv(1 << 16)
            assert piece, f"closed before {wanted!r}: {came!r}"
            came += piece
        return came

    def rest(self) -> bytes:
        """What comes until the server closes, which must be soon; of a reset, what came before it."""
        came = b""
        deadline = time.monotonic() + PATIENCE_S
        with suppress(ConnectionError):
            while piece := self.socket.recv(1 << 16):
                came += piece
                assert time.monotonic() < deadline, "the server does not close"
        return came

    def vanish(self) -> None:
        """Be gone without a word: from now on our side drops every packet, as behind a pulled cable.

        Skips the test where only root may have that.
        """
        nothing_passes = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # bpf(4): ret 0
        program = struct.pack("HL", 1, ctypes.addressof(nothing_passes))
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        except PermissionError:
            pytest.skip("only root may have a socket drop its packets here")

    def reset(self) -> None:
        """Be gone with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
        self.socket.close()


def joined(feed: RawFeed, served: Served, transport: str, worker_id: str, query: str = "") -> None:
    """Ask for a feed, and read until it is at the head."""
    feed.send(asking(served, transport, worker_id, query))
    if transport == "session":
        feed.until(b"\r\n\r\n")
        feed.send(frame(TEXT, b'{"kind":"subscribe","id":1,"worker_id":"%b"}' % worker_id.encode()))
    feed.until(FIRST.get(transport, b'"sync"'))


@contextmanager
def raw_feed(served: Served, *, receive_bytes: int | None = None) -> Iterator[RawFeed]:
    """A connection that says nothing yet; closed after the block."""
    feed = RawFeed(served, receive_bytes=receive_bytes)
    try:
        yield feed
    finally:
        feed.socket.close()


def flooded(feed: RawFeed, content: bytes, *, times: int) -> bool:
    """Send it so often without reading a byte; whether the server stopped taking it before, or hung up."""
    feed.socket.settimeout(0.5)
    try:
        for _ in range(times):
            feed.send(content)
    except (TimeoutError, ConnectionError):
        return True
    finally:
        feed.socket.settimeout(PATIENCE_S)
    return False
