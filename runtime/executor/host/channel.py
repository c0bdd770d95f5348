"""The supervisor's end of its control channel. Nothing here waits for the server.

A server that does not read costs a bounded amount: a wake is sent only when
everything before it was read, and of progress only the newest number is kept.
What a server sent before it died is read to its end, also when nothing can be
sent to it any more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
import termios
from collections import deque

from . import wire

_RECEIVE_BYTES = 64 * 1024
_WAITING_MAX = 16
_PEER = struct.Struct("3i")  # pid, uid, gid


class Channel:
    """Frames in (`inbox`) and out over a non-blocking socket. `closed` once the server's end is."""

    __slots__ = ("_decoder", "_file", "_file_at", "_is_mute", "_out", "_socket", "_taken", "closed", "inbox")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.setblocking(False)
        self._decoder = wire.Decoder()
        self.inbox: deque[tuple[int, bytes]] = deque()
        self._out = bytearray()
        self._file: int | None = None  # To go with the byte at `_file_at` of what is to be sent.
        self._file_at = 0
        self._taken: int | None = None
        self._is_mute = False
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out) and not self.closed

    def receive(self) -> bool:
        """Put the frames that one read completes into the inbox; False when there was nothing.

        Sets `closed` at the end, and when what came is no frame: such a peer is none.
        """
        if self.closed:
            return False
        try:
            received = self._socket.recv(_RECEIVE_BYTES)
            self.inbox.extend(self._decoder.feed(received))
        except BlockingIOError:
            return False
        except (OSError, wire.WireError):
            received = b""
        if not received:
            self.closed = True
        return bool(received)

    def receive_plan(self) -> tuple[bytes, int] | None:
        """Wait for a plan and its descriptor. What comes before it is for a worker that is over.

        None: the server left before it had sent all of it.
        """
        files: list[int] = []
        self._socket.setblocking(True)
        while True:
            while self.inbox:
                kind, body = self.inbox.popleft()
                if kind == wire.PLAN:
                    if not files:
                        raise wire.WireError("a plan came without a folder")
                    self._socket.setblocking(False)
                    return body, files[0]
            try:
                received, came, _flags, _address = socket.recv_fds(
                    self._socket, _RECEIVE_BYTES, 1, socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                return None
            if not received:
                return None
            files += came
            self.inbox.extend(self._decoder.feed(received))

    def offer(self) -> None:
        """Say that another plan may come, however long the server takes to make room for it.

        Of the worker before nothing more is said.
        """
        self._taken = None
        self._socket.setblocking(True)
        self.send(wire.FREE)

    def send(self, kind: int, body: bytes = b"") -> None:
        """To a server that left it sends nothing, and keeps nothing."""
        if not self.closed and not self._is_mute:
            self._out += wire.pack(kind, body)
            self.flush()

    def send_file(self, kind: int, fd: int) -> None:
        """As `send`, with a descriptor, once in a channel's life; it stays open here, and the caller's."""
        self._file, self._file_at = fd, len(self._out)
        self.send(kind)

    def wake(self) -> None:
        """Make the server look for output after now; every frame does, so one unread is enough."""
        if not self._out and not self.closed and self._unread_bytes() == 0:
            self.send(wire.WAKE)

    def tell_taken(self, total_bytes: int) -> None:
        """Tell the server how much input the pipe took in all; only the newest number matters."""
        self._taken = total_bytes
        self.flush()

    def flush(self) -> None:
        while not self.closed and not self._is_mute:
            if not self._out and self._taken is not None:
                self._out += wire.pack(wire.TAKEN, wire.pack_u64(self._taken))
                self._taken = None
            if not self._out:
                return
            try:
                count = self._send_some()
            except BlockingIOError:
                return
            except OSError:  # It left. What it said before is still there to be read.
                self._is_mute = True
                self._out.clear()
                return
            del self._out[:count]

    def _send_some(self) -> int:
        """Send up to the descriptor, or together with it. Raises OSError."""
        if self._file is None:
            return self._socket.send(self._out)
        if self._file_at:
            count = self._socket.send(self._out[: self._file_at])
            self._file_at -= count
            return count
        count = socket.send_fds(self._socket, [self._out], [self._file])
        self._file = None
        return count

    def close(self) -> None:
        """Forget its descriptor in the loop first."""
        self.closed = True
        self._socket.close()

    def _unread_bytes(self) -> int:
        """What the kernel holds for the server (SIOCOUTQ, which is TIOCOUTQ by another name)."""
        answer = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)


class Listener:
    """`ctl.sock` of a worker that outlives its server: where the next server finds it."""

    __slots__ = ("_directory", "_socket")

    def __init__(self, directory_fd: int) -> None:
        """Replace what an earlier life left there. Raises OSError."""
        self._directory = directory_fd
        self._remove()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            os.fchmod(self._socket.fileno(), 0o600)  # The file takes its mode from here.
            self._socket.bind(wire.control_path(directory_fd))
            self._socket.listen(_WAITING_MAX)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> Channel | None:
        """The next connection, if it may command us. Raises OSError: the kernel has no room for it."""
        try:
            connected, _address = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        _pid, uid, _gid = _PEER.unpack(
            connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        )
        if uid not in (0, os.geteuid()):
            connected.close()
            return None
        return Channel(connected)

    def close(self) -> None:
        """Take the file away too. Forget its descriptor in the loop first."""
        self._remove()
        self._socket.close()

    def _remove(self) -> None:
        try:
            os.unlink(wire.CONTROL, dir_fd=self._directory)
        except FileNotFoundError:
            return
