"""An observer that takes no byte is told so on every transport, with its place, if it wakes in time."""

from __future__ import annotations

import asyncio
import re
import socket
import struct

import pytest

from watchglass.protocol.feed_v2 import CloseCode
from watchglass.server.config import FeedBounds

from support.feed import UPGRADE
from support.inprocess import BEARER, InProcess
from support.patience import PATIENCE_S
from support.tasks import soon, until
from support.watched import produce, watched

pytestmark = pytest.mark.asyncio

CLOSING = struct.pack("!H", CloseCode.STALLED) + b"stalled at wo_"
V2 = {**UPGRADE, "Sec-WebSocket-Protocol": "watchglass.feed.v2"}
STREAM = {"Accept": "text/event-stream"}
ASKING = {
    "v1": ("/v1/workers/w/events/ws?cursor=earliest", UPGRADE),
    "v2": ("/v1/workers/w/events/ws", V2),
    "v2 of everybody": ("/v1/events/ws?workers=*", V2),
    "sse": ("/v1/workers/w/events", STREAM),
    "sse of everybody": ("/v1/events?workers=*", STREAM),
}
SAID = {
    "v1": b'{"kind":"diagnostic","diagnostic":{"code":"runtime.websocket_error"',
    "v2": b'"code":"runtime.stalled"',
    "sse": b"event: feed.diagnostic\ndata: {",
}
LAST = {"v1": CLOSING, "v2": CLOSING, "sse": b"\r\n0\r\n\r\n"}
COUNTED = {"v1": "stalled", "v2": "runtime.stalled", "sse": "stalled"}


async def asked(server: InProcess, transport: str) -> socket.socket:
    """An observer that does not read yet."""
    loop = asyncio.get_running_loop()
    observer = socket.socket()
    observer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    observer.setblocking(False)
    await loop.sock_connect(observer, ("127.0.0.1", server.port))
    path, headers = ASKING[transport]
    sent = {**BEARER, "Host": f"127.0.0.1:{server.port}", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    await loop.sock_sendall(observer, f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    return observer


async def last_words(observer: socket.socket, last: bytes) -> bytes:
    """What comes, up to a close frame (with its reason) or the end of a stream."""
    loop = asyncio.get_running_loop()
    taken = b""
    while last not in taken[-1000:]:
        piece = await loop.sock_recv(observer, 1 << 20)
        assert piece, "closed without a word"
        taken += piece
    return taken


@pytest.mark.parametrize("ready_frames", [True, False], ids=["ready frames", "plain sends"])
@pytest.mark.parametrize("transport", ASKING)
async def test_who_took_no_byte_finds_the_reason_behind_what_it_was_sent(
    transport: str, ready_frames: bool
) -> None:
    bounds = FeedBounds(stall_s=2.0, close_s=PATIENCE_S, ready_frames=ready_frames)
    async with watched(bounds=bounds) as server:
        stuck = await asked(server, transport)
        await until(lambda: server.runtime.summary().observer_count == 1)
        [connection] = server.connections._open
        for _ in range(8):
            await produce(server, *["x" * 60_000] * 17)
        await until(lambda: connection.stalled)
        taken = await soon(last_words(stuck, LAST[transport.partition(" ")[0]]))
        stuck.close()
        transport = transport.partition(" ")[0]
        assert SAID[transport] in taken
        sent = re.findall(rb'"cursor":"(wo_[0-9a-f]{16})"', taken)
        if transport != "sse":
            closing = taken[taken.rindex(SAID[transport]) :].partition(struct.pack("!H", CloseCode.STALLED))[
                2
            ]
            assert closing.startswith(b"stalled at wo_")
            assert closing.rpartition(b" ")[2] in sent
        exposed = (await server.ask("GET", "/metrics")).content.decode()
        assert f'watchglass_feeds_closed_total{{reason="{COUNTED[transport]}"}} 1.0' in exposed
