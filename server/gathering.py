"""What is written in one turn of the loop goes to the system in one call.

A call costs the same for one small frame as for sixteen, and neither asyncio
nor Hypercorn merges writes. Order and bounds stay: what waits goes out before
the turn is over, at `GATHERED_BYTES_MAX`, and before the end.

Frames for a thousand observers are a thousand calls in a row, so what is written
at once goes to the socket itself while nothing waits in front of it; only what
the socket does not take is the transport's. Inside TLS all of it is.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any, Final

GATHERED_BYTES_MAX: Final = 64 << 10
KEEPS_UP_BYTES_MAX: Final = 64 << 10
"""What may wait for a peer that keeps up; asyncio pauses a writer above the same."""


class GatheringWriter:
    """A `StreamWriter` as Hypercorn uses one."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._transport = writer.transport
        socket = writer.get_extra_info("socket")
        is_plain = socket is not None and writer.get_extra_info("ssl_object") is None
        self._fd: int | None = socket.fileno() if is_plain else None
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._ended = False

    def get_extra_info(self, name: str) -> Any:
        """As of the transport."""
        return self._writer.get_extra_info(name)

    def write(self, data: bytes) -> None:
        """Send it with this turn of the loop. Raises RuntimeError after the end."""
        if self._ended:
            raise RuntimeError("written after the end")
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= GATHERED_BYTES_MAX:
            self._flush()

    def write_at_once(self, data: bytes) -> bool:
        """Send what waits, then this, now; whether the peer keeps up. After the end it goes nowhere."""
        if self._waiting:
            self._flush()
        transport = self._transport
        if self._ended or transport.is_closing():  # From then on the socket may be another one's.
            return False
        if self._fd is not None and not transport.get_write_buffer_size():
            try:
                taken = os.write(self._fd, data)
            except OSError:  # It is full, or gone: the transport comes to the same, and acts on it.
                taken = 0
            if taken == len(data):
                return True
            data = data[taken:]
        transport.write(data)
        return transport.get_write_buffer_size() <= KEEPS_UP_BYTES_MAX

    async def drain(self) -> None:
        """Wait while the peer is far behind. Raises ConnectionError when it is gone."""
        await self._writer.drain()

    def write_eof(self) -> None:
        """Nothing follows."""
        self._flush()
        self._ended = True
        self._writer.write_eof()

    def close(self) -> None:
        """Send what waits, then close. Closing again changes nothing."""
        self._flush()
        self._ended = True
        if not self._writer.is_closing():  # A second close breaks a TLS transport of Python 3.11.2.
            self._writer.close()

    async def wait_closed(self) -> None:
        """Return when it is closed, however that went."""
        with suppress(OSError):  # Such as a peer that never answers the end of TLS.
            await self._writer.wait_closed()

    def _flush(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if waiting and not self._writer.is_closing():
            self._writer.write(b"".join(waiting))
