"""Upgrades of a server in this process, byte by byte, and peers that do not read what follows."""

from __future__ import annotations

import asyncio
import socket

from .feed import UPGRADE
from .inprocess import BEARER, InProcess


def upgrade_head(server: InProcess, target: str, subprotocols: str | None = None) -> bytes:
    """What asks for a WebSocket, with the token."""
    sent = {"Host": f"127.0.0.1:{server.port}", **BEARER, **UPGRADE}
    if subprotocols is not None:
        sent["Sec-WebSocket-Protocol"] = subprotocols
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"GET {target} HTTP/1.1\r\n{head}\r\n".encode()


async def upgraded(server: InProcess, target: str, subprotocols: str | None = None) -> socket.socket:
    """A peer that asked, whose small buffer is full soon: it reads when the test does."""
    loop = asyncio.get_running_loop()
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setblocking(False)
    await loop.sock_connect(peer, ("127.0.0.1", server.port))
    await loop.sock_sendall(peer, upgrade_head(server, target, subprotocols))
    return peer
