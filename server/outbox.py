"""Texts on their way to one peer of a session, in order, many at a time.

Whoever puts one may go on; before the next one it looks whether there is room,
and waits. So what is kept for a peer that takes nothing is bounded by those who
look, and by nothing here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, Protocol

from watchglass.protocol.ready_frames import frame_header

from .asgi import Send
from .frames import FrameSink
from .gathering import GATHERED_BYTES_MAX

WAITING_BYTES_MAX: Final = 64 << 10
"""As many bytes may wait in front of a peer that keeps up."""


class Outbox(Protocol):
    """The outbound side of one connection."""

    @property
    def has_room(self) -> bool:
        """Whether the peer keeps up."""

    def put(self, text: bytes) -> None:
        """Send it behind all that was put before. Never waits."""

    async def wait_room(self) -> None:
        """Return when the peer has taken most of it, or is gone."""

    async def flush(self) -> None:
        """Return when the connection has all of it."""

    async def aclose(self) -> None:
        """Send no more."""


class ReadyOutbox:
    """Over a connection that takes frames which are ready: one write for each turn of the loop."""

    def __init__(self, sink: FrameSink) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._keeps_up = True

    @property
    def has_room(self) -> bool:
        """See `Outbox`."""
        return self._keeps_up

    def put(self, text: bytes) -> None:
        """See `Outbox`."""
        if not self._waiting:
            self._loop.call_soon(self._write)
        self._waiting += (frame_header(len(text)), text)
        self._waiting_bytes += len(text)
        if self._waiting_bytes >= GATHERED_BYTES_MAX:
            self._write()

    async def wait_room(self) -> None:
        """See `Outbox`."""
        self._write()
        if not self._keeps_up:
            with suppress(OSError):  # Whoever reads from it hears that it is gone.
                await self._sink.drain()
            self._keeps_up = True

    async def flush(self) -> None:
        """See `Outbox`."""
        self._write()

    async def aclose(self) -> None:
        """See `Outbox`."""
        self._write()

    def _write(self) -> None:
        if self._waiting:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._keeps_up = self._sink.write(b"".join(waiting))


class PlainOutbox:
    """Over ASGI's own `send`, text by text."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._task = asyncio.create_task(self._send_all(), name="session outbox")

    @property
    def has_room(self) -> bool:
        """See `Outbox`."""
        return self._room.is_set()

    def put(self, text: bytes) -> None:
        """See `Outbox`."""
        self._waiting.append(text)
        self._waiting_bytes += len(text)
        self._some.set()
        self._none.clear()
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self._room.clear()

    async def wait_room(self) -> None:
        """See `Outbox`."""
        await self._room.wait()

    async def flush(self) -> None:
        """See `Outbox`."""
        await self._none.wait()

    async def aclose(self) -> None:
        """See `Outbox`."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _send_all(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                text = self._waiting.popleft()
                await self._send({"type": "websocket.send", "text": text.decode()})
                self._waiting_bytes -= len(text)
                if self._waiting_bytes <= WAITING_BYTES_MAX:
                    self._room.set()
            self._none.set()
