"""Places to reach, and ways to ask a proxy for them byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Served:
    """A server on the loopback; `heard` has all that each of its connections received, up to the end."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[bytes] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Served]:
    """Serve each connection so; it is closed after."""
    served = Served()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # Whoever came has left.
                await serve(reader, writer)
        finally:
            writer.close()
            connections.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[Served]:
    """A server of HTTP that answers each request head so, and notes all that it heard."""
    noted: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        noted.append(head)
        at = len(noted) - 1
        writer.write(answer)
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        noted[at] += await reader.read()

    async with serving(serve) as served:
        served.heard = noted
        yield served


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say what is heard, to the end and then no more."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    await reader.read()
