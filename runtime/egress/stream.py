"""A connected socket whose every byte shows that its connection is in use."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

RECEIVE_BYTES = 64 * 1024


class Patience:
    """How long a connection may stand still. Only within `lasting`."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._timeout = asyncio.timeout(None)

    @asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """A block that ends with TimeoutError when for `idle_s` seconds nobody called `renew`."""
        async with self._timeout:
            self.renew()
            yield

    def renew(self) -> None:
        """Something moved."""
        if not self._timeout.expired():  # A task that is being ended may come to it late.
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._idle_s)


class Stream:
    """Reads and writes. `received_bytes` counts what came, `sent_bytes` what went."""

    def __init__(self, connected: socket.socket) -> None:
        """Take over `connected`, which does not block."""
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self.received_bytes = 0
        self.sent_bytes = 0

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        """What has come, b"" at the end. Raises OSError."""
        received = await self._loop.sock_recv(self._socket, max_bytes)
        self.received_bytes += len(received)
        return received

    async def send(self, data: bytes) -> None:
        """Return when the kernel has all of it. Raises OSError."""
        await self._loop.sock_sendall(self._socket, data)
        self.sent_bytes += len(data)

    def end(self) -> None:
        """Send no more; what the other side says is still read."""
        with contextlib.suppress(OSError):  # It has left already.
            self._socket.shutdown(socket.SHUT_WR)

    def abandon(self) -> None:
        """End both ways, so that whoever waits for it finds the end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def break_off(self) -> None:
        """Have `close` tell the other side that this was no orderly end (SO_LINGER, socket(7))."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Nobody may be waiting in `receive` or `send`."""
        self._socket.close()
