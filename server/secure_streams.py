"""Connections that begin with a TLS handshake: bounded in time, and none outlives its server.

asyncio's own servers keep a connection to themselves until its handshake is over,
so nobody could close it when the server stops. Here each has a task from the start:

    accepted ──▶ handshake, `HANDSHAKE_S_MAX` at most ──▶ `serve`, with streams as `start_server` gives
                     ├──▶ plain HTTP: told that TLS is spoken here (`plain_requests`), and left to leave
                     └──▶ no TLS, no time, no common version: dropped, and a line of the log at level info
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from .gathering import KEEPS_UP_BYTES_MAX
from .room import Guest

HANDSHAKE_S_MAX: Final = 10.0
GOODBYE_S_MAX: Final = 3.0
"""How long a peer may take to say that it has heard our end (close_notify, RFC 8446, 6.1)."""
READ_BYTES: Final = 16 << 10
"""A TLS record's. asyncio keeps a buffer for each connection: 256 KiB, most of what an idle one takes."""
_LOG = logging.getLogger(__name__)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Shaking:
    """A connection before the end of its handshake; nothing is asked on it."""

    transport: asyncio.Transport
    asked_s: float
    is_asked: Final = False


class SecureStreams:
    """The TLS connections of one listening socket."""

    def __init__(
        self,
        context: ssl.SSLContext,
        serve: Serve,
        *,
        has_place: Callable[[Collection[Guest]], bool] = lambda _: True,
        handshake_s: float = HANDSHAKE_S_MAX,
    ) -> None:
        """`serve` has each of them from its handshake to its end.

        `has_place` says whether one more fits beside those whose handshake is not over.
        """
        self._context = context
        self._serve = serve
        self._handshake_s = handshake_s
        SSLProtocol.max_size = READ_BYTES  # For all TLS of this process: a connection has no way to say so.
        self._has_place = has_place
        self._shaking: dict[asyncio.Task[None], Shaking] = {}

    async def listen(self, listener: socket.socket, backlog: int) -> asyncio.Server:
        """Accept from now on."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Accepted(self._begin), sock=listener, backlog=backlog)

    async def stop(self) -> None:
        """Drop those whose handshake is not over."""
        shaking = dict(self._shaking)
        for task, guest in shaking.items():
            task.cancel()
            guest.transport.abort()  # The task may not have begun.
        if shaking:
            await asyncio.wait(shaking)

    def _begin(self, transport: asyncio.Transport) -> None:
        if not self._has_place(list(self._shaking.values())):
            transport.abort()
            return
        task = asyncio.create_task(self._run(transport), name="a TLS connection")
        self._shaking[task] = Shaking(transport, asyncio.get_running_loop().time())
        task.add_done_callback(lambda ended: self._shaking.pop(ended, None))

    async def _run(self, transport: asyncio.Transport) -> None:
        try:
            reader, writer = await self._shake_hands(transport)
        except OSError as fault:
            _LOG.info("a TLS handshake failed: %s", _reason(fault), extra={"peer": _peer(transport)})
            return
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._shaking.pop(task, None)
        await self._serve(reader, writer)

    async def _shake_hands(
        self, transport: asyncio.Transport
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Streams inside TLS. Raises OSError."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = _Inside(reader)
        try:
            inside = await loop.start_tls(
                transport,
                protocol,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=GOODBYE_S_MAX,
            )
        except BaseException:
            transport.abort()
            raise
        if inside is None:  # Lost as the handshake ended.
            raise ConnectionResetError
        assert isinstance(inside, asyncio.Transport)
        protocol.connection_made(inside)
        inside.set_write_buffer_limits(high=KEEPS_UP_BYTES_MAX)
        return reader, asyncio.StreamWriter(inside, protocol, reader, loop)


class _Accepted(asyncio.Protocol):
    """A connection before its handshake; not a byte of it is read here."""

    def __init__(self, begin: Callable[[asyncio.Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._begin(transport)


class _Inside(asyncio.StreamReaderProtocol):
    """What TLS carries. Bytes may come before `connection_made` does; the reader keeps them."""

    def eof_received(self) -> bool:
        """TLS has no half-closed connections."""
        super().eof_received()
        return False


def _peer(transport: asyncio.Transport) -> str:
    return str(transport.get_extra_info("peername"))


def _reason(fault: OSError) -> str:
    if isinstance(fault, ssl.SSLError):
        return (fault.reason or str(fault)).lower().replace("_", " ")
    return str(fault) or type(fault).__name__
