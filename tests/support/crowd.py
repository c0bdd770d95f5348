"""Many observers of one worker in one process: each keeps a digest of what it was told, not the words.

    spectator = Spectator("v2"); await spectator.watch(served, "w")

What it checks is the order and the whole of the events, by their cursors; the
words of a frame are checked elsewhere. It reads bytes as they come, so that a
thousand of them cost little beside the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
from collections.abc import Iterable
from contextlib import suppress

import orjson

from .patience import PATIENCE_S
from .raw_feed import asking
from .serving import Served

TRANSPORTS = ("v2", "v1", "sse", "long_poll")
EVENT = re.compile(rb'"cursor":"(wo_[0-9a-f]{16})","event_id":"\1"')
ENDED = b'"event":"end"'
_BOOKMARK = re.compile(rb'"kind":"bookmark","cursor":"(wo_[0-9a-f]{16})"')
_NEXT = re.compile(rb'"next":"(wo_[0-9a-f]{16})"')
_KEPT_BYTES = 2048
"""More than what has to be seen in one piece: an end, a goodbye."""


class Spectator:
    """One observer, over any number of connections; it goes on where the last one ended."""

    def __init__(self, transport: str, cursor: str = "earliest") -> None:
        self.transport = transport
        self.cursor = cursor
        self.events = 0
        self.ended = False
        self.tail = b""
        """The last bytes that came."""
        self._digest = hashlib.sha256()
        self._moved = asyncio.Condition()

    @property
    def digest(self) -> str:
        """Of the cursors of all events, in the order in which they came."""
        return self._digest.hexdigest()

    async def wait_events(self, count: int) -> None:
        """Return when it was told so many; soon."""
        async with asyncio.timeout(PATIENCE_S), self._moved:
            await self._moved.wait_for(lambda: self.events >= count)

    async def watch(self, served: Served, worker_id: str) -> None:
        """One connection (long polls: one after the other) until the worker's end, or the server's close."""
        while not self.ended:
            self.tail = b""
            with suppress(ConnectionError):
                await self._connection(served, worker_id)
            if self.transport != "long_poll" or not self.tail:  # No answer: the server is gone.
                return

    async def _connection(self, served: Served, worker_id: str) -> None:
        reader, writer = await connected(served)
        try:
            writer.write(asking(served, self.transport, worker_id, f"?cursor={self.cursor}"))
            while piece := await reader.read(1 << 18):
                await self._take(piece)
                if self.ended or (self.transport == "long_poll" and self.tail.endswith(b"}")):
                    return
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _take(self, piece: bytes) -> None:
        text = self.tail + piece
        seen = len(self.tail)
        new = [found[1] for found in EVENT.finditer(text) if found.end() > seen]
        if new:
            assert new == sorted(set(new)), "out of order"
            assert self.cursor == "earliest" or new[0].decode() > self.cursor, "told again"
            self._digest.update(b"".join(new))
            self.events += len(new)
            self.cursor = new[-1].decode()
        elif places := _BOOKMARK.findall(text) or _NEXT.findall(text):
            self.cursor = places[-1].decode()
        self.ended = self.ended or ENDED in text
        self.tail = text[-_KEPT_BYTES:]
        if new:
            async with self._moved:
                self._moved.notify_all()


async def connected(
    served: Served, *, receive_bytes: int | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, which may have a small receive buffer."""
    peer = socket.socket()
    peer.setblocking(False)
    if receive_bytes is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    try:
        await asyncio.get_running_loop().sock_connect(peer, (served.host, served.port))
    except OSError:
        peer.close()
        raise
    return await asyncio.open_connection(sock=peer)


def digest_of(cursors: Iterable[str]) -> str:
    """What a spectator's digest must be."""
    return hashlib.sha256("".join(cursors).encode()).hexdigest()


async def cursors_of(served: Served, worker_id: str) -> list[str]:
    """Those of all kept events now."""
    cursors: list[str] = []
    place = "earliest"
    while True:
        reader, writer = await connected(served)
        writer.write(asking(served, "long_poll", worker_id, f"?cursor={place}&wait_s=0"))
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head)
        assert size is not None
        answer = orjson.loads(await reader.readexactly(int(size[1])))
        writer.close()
        await writer.wait_closed()
        cursors += [envelope["cursor"] for envelope in answer["events"]]
        place = answer["next"]
        if answer["up_to_date"]:
            return cursors
