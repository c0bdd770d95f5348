"""The supervisor's end of its control channel. Nothing here waits for the server.

A server that does not read costs a bounded amount: a wake is sent only when
everything before it was read, and of progress only the newest number is kept.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from collections import deque

from . import wire

_RECEIVE_BYTES = 64 * 1024


class Channel:
    """Frames in (`inbox`) and out over a non-blocking socket. `closed` once the server's end is."""

    __slots__ = ("_decoder", "_out", "_socket", "_taken", "closed", "inbox")

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._decoder = wire.Decoder()
        self.inbox: deque[tuple[int, bytes]] = deque()
        self._out = bytearray()
        self._taken: int | None = None
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out) and not self.closed

    def receive(self) -> None:
        """Put the frames that one read completes into the inbox; set `closed` at the end."""
        try:
            received = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if received:
            self.inbox.extend(self._decoder.feed(received))
        else:
            self.closed = True

    def send(self, kind: int, body: bytes = b"") -> None:
        self._out += wire.pack(kind, body)
        self.flush()

    def wake(self) -> None:
        """Make the server look for output after now; every frame does, so one unread is enough."""
        if not self._out and not self.closed and self._unread_bytes() == 0:
            self.send(wire.WAKE)

    def tell_taken(self, total_bytes: int) -> None:
        """Tell the server how much input the pipe took in all; only the newest number matters."""
        self._taken = total_bytes
        self.flush()

    def flush(self) -> None:
        while not self.closed:
            if not self._out and self._taken is not None:
                self._out += wire.pack(wire.TAKEN, wire.pack_u64(self._taken))
                self._taken = None
            if not self._out:
                return
            try:
                count = self._socket.send(self._out)
            except BlockingIOError:
                return
            except OSError:
                self.closed = True
                return
            del self._out[:count]

    def _unread_bytes(self) -> int:
        """What the kernel holds for the server (SIOCOUTQ, which is TIOCOUTQ by another name)."""
        answer = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)
