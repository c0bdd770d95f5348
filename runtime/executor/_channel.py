"""The server's end of one supervisor's control channel."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

from .host.wire import Decoder, WireError, pack

_RECEIVE_BYTES = 64 * 1024
_FILES_AT_ONCE = 1


class Channel:
    """Frames out at once, frames in by `on_frame`, and `on_end` once after the last of them.

    What the socket does not take is kept; the input window of `host/wire.py`
    bounds how much that can be. `files` are the descriptors that came and that
    nobody has taken; what is left of them is closed at the end.
    """

    def __init__(self, ours: socket.socket) -> None:
        """Take over `ours`, a stream whose other end a supervisor holds. Nobody listens yet; see `attach`."""
        self._socket = ours
        self.attach(_ignore_frame, _ignore_end)
        self._decoder = Decoder()
        self._out = bytearray()
        self.files: deque[int] = deque()
        self.is_closed = False
        self._loop = asyncio.get_running_loop()
        ours.setblocking(False)
        self._loop.add_reader(ours, self._read)

    def attach(self, on_frame: Callable[[int, bytes], None], on_end: Callable[[], None]) -> None:
        """Have others told of what comes from now on."""
        self._on_frame = on_frame
        self._on_end = on_end

    @property
    def is_settled(self) -> bool:
        """Whether it is open, and the socket took all that was sent."""
        return not self.is_closed and not self._out

    def send(self, kind: int, body: bytes = b"") -> None:
        """Never waits. After the end it does nothing: whoever could act on it is gone."""
        if self.is_closed:
            return
        is_waiting = bool(self._out)
        self._out += pack(kind, body)
        if not is_waiting:
            self._write()

    def send_first(self, kind: int, body: bytes, fd: int) -> None:
        """As `send`, with a descriptor that arrives with the first byte."""
        frame = pack(kind, body)
        try:
            count = socket.send_fds(self._socket, [frame], [fd])
        except OSError:  # The supervisor is gone, or too many descriptors are on their way.
            self.close()
            return
        self._out += frame[count:]
        if self._out:
            self._write()

    def finish(self) -> None:
        """Read what a dead supervisor left in the socket, then close."""
        while not self.is_closed and self._read():
            pass
        self.close()

    def close(self) -> None:
        """Closing twice changes nothing. `on_end` is called once, here."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        while self.files:
            os.close(self.files.popleft())
        self._on_end()

    def _read(self) -> bool:
        """Handle what one read gives; False when there was nothing."""
        try:
            received = self._receive()
            frames = self._decoder.feed(received)
        except BlockingIOError:
            return False
        except (OSError, WireError):  # Either way it says nothing more that we can trust.
            received, frames = b"", []
        if not received:
            self.close()
            return False
        for kind, body in frames:
            self._on_frame(kind, body)
        return True

    def _receive(self) -> bytes:
        """One read ends with the bytes that a descriptor came with. Raises OSError."""
        received, files, _flags, _address = socket.recv_fds(
            self._socket, _RECEIVE_BYTES, _FILES_AT_ONCE, socket.MSG_CMSG_CLOEXEC
        )
        self.files += files
        return received

    def _write(self) -> None:
        try:
            count = self._socket.send(self._out)
        except BlockingIOError:
            count = 0
        except OSError:  # The supervisor is gone; the reader sees the end after its last frames.
            count = len(self._out)
        del self._out[:count]
        if self._out:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)


def _ignore_frame(_kind: int, _body: bytes) -> None:
    """Nothing comes from a supervisor that has no plan."""


def _ignore_end() -> None:
    """Whoever hands it a plan hears of it."""
