"""Links that carry few bytes a second towards the client; what they have not carried waits at the server.

The sockets on the server's side have small buffers, so that its TCP feels how
slow a link is: it hears of every few kilobytes that were carried.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from .serving import Served

SLOW_BUFFER_BYTES: Final = 4096
OPEN_BUFFER_BYTES: Final = 1 << 20
PIECE_BYTES: Final = 500


class SlowLinks:
    """Forwards connections to a server, each at `bytes_s` until `open`."""

    def __init__(self, served: Served, bytes_s: int) -> None:
        self._served = served
        self._bytes_s = bytes_s
        self._opened = asyncio.Event()
        self._port = 0
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._carried: list[int] = []

    @property
    def url(self) -> str:
        """Where they begin."""
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """From now on they carry what comes, as fast as it comes."""
        for link in self._sockets:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, OPEN_BUFFER_BYTES)
        self._opened.set()

    def have_carried(self, size_bytes: int) -> int:
        """How many connections have brought their client more than this."""
        return sum(carried > size_bytes for carried in self._carried)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[SlowLinks]:
        """While the block runs; after it all are cut."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = socket.socket()
        link.setblocking(False)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(link, (self._served.host, self._served.port))
        from_server, to_server = await asyncio.open_connection(sock=link, limit=PIECE_BYTES)
        self._sockets.append(link)
        asks = asyncio.create_task(_forward(reader, to_server))
        try:
            await self._carry(from_server, writer)
        finally:
            asks.cancel()
            self._sockets.remove(link)
            for end in (to_server, writer):
                end.transport.abort()

    async def _carry(self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(self._carried)
        self._carried.append(0)
        with suppress(ConnectionError):
            while True:
                most = OPEN_BUFFER_BYTES if self._opened.is_set() else PIECE_BYTES
                piece = await from_server.read(most)
                if not piece:
                    writer.close()
                    await writer.wait_closed()
                    return
                writer.write(piece)
                await writer.drain()
                self._carried[place] += len(piece)
                with suppress(TimeoutError):
                    async with asyncio.timeout(len(piece) / self._bytes_s):
                        await self._opened.wait()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
