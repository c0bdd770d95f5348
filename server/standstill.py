"""For how long a peer has taken nothing of what waits for it.

"Takes" is what its TCP acknowledged (TCP_INFO, tcpi_bytes_acked): our own buffer
can stand still for minutes in front of a slow peer whose socket buffer is large.
"Waits" is what it has not acknowledged (tcp(7), SIOCOUTQ): bookmarks for a peer
that vanished without a word fit into the kernel's buffer for hours, and the kernel
itself gives up after 15 minutes.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Final

_TCP_INFO_BYTES: Final = 128
_BYTES_ACKED_AT: Final = 120


class Standstill:
    """Looked at now and then; each look says how it stands."""

    __slots__ = ("_progress", "_since_s")

    def __init__(self) -> None:
        self._progress = -1
        self._since_s = 0.0

    def seconds(self, progress: int | None, now_s: float) -> float:
        """How long `progress` has been the same; None: nothing waits."""
        if progress is None or progress != self._progress:
            self._progress = -1 if progress is None else progress
            self._since_s = now_s
        return now_s - self._since_s


def tcp_progress(transport: asyncio.WriteTransport) -> int | None:
    """A number that grows when the peer takes bytes; None when nothing waits for it."""
    try:
        peer = transport.get_extra_info("socket")
        if not transport.get_write_buffer_size() and not _unacknowledged_bytes(peer.fileno()):
            return None
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        acked: int = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)[0]
    except (OSError, struct.error):  # No TCP, or closed just now: nothing to count by.
        return None
    return acked


def _unacknowledged_bytes(descriptor: int) -> int:
    """What the kernel keeps for the peer; nothing of a socket that is closed. Raises OSError."""
    if descriptor < 0:
        return 0
    count: int = struct.unpack("=i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    return count
