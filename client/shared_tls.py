"""A TLS socket that one thread reads while another writes.

`websockets` reads in a thread of its own, and OpenSSL lets nobody use a connection
in two threads at once (openssl-threads(7)). Most often that goes well; but what is
written while the reader takes the session tickets that follow a handshake of TLS 1.3
(RFC 8446, 4.6.1) can be lost without a word. So here OpenSSL has one thread at a time,
and who waits for the network does so outside.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any, cast

from websockets.client import ClientProtocol
from websockets.sync.client import ClientConnection


class TwoThreadedConnection(ClientConnection):
    """A connection of `websockets.sync.client` that is safe over TLS too: its `create_connection`."""

    def __init__(self, sock: socket.socket, protocol: ClientProtocol, **more: Any) -> None:
        if isinstance(sock, ssl.SSLSocket):
            sock = cast(socket.socket, SharedTls(sock))  # All of a socket that `websockets` uses.
        super().__init__(sock, protocol, **more)


class SharedTls:
    """A socket after its handshake. Each method may be called in any thread, and may raise OSError."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._timeout_s: float | None = None
        self._one = threading.RLock()  # A signal handler may shut down what its own thread is writing.
        self._waiting = 0
        self._closed = False

    def recv(self, size_bytes: int) -> bytes:
        """Some bytes, `size_bytes` at most; none at the end, and when it is closed meanwhile."""
        while True:
            with self._one:
                if self._closed:
                    return b""
                try:
                    return self._sock.recv(size_bytes)
                except ssl.SSLError as fault:
                    poll = self._poll(fault)
            self._wait(poll, None)

    def sendall(self, data: bytes) -> None:
        """Send all of it, or raise TimeoutError when the time of `settimeout` is over."""
        deadline_s = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        rest = memoryview(data)
        while rest:
            with self._one:
                if self._closed:
                    raise ConnectionAbortedError("closed on our side")
                try:
                    rest = rest[self._sock.send(rest) :]
                    continue
                except ssl.SSLError as fault:
                    poll = self._poll(fault)
            self._wait(poll, deadline_s)

    def settimeout(self, timeout_s: float | None) -> None:
        """How long `sendall` may take; a reader waits until the connection ends."""
        self._timeout_s = timeout_s

    def shutdown(self, how: int) -> None:
        """End the TCP connection in one direction or both; who waits is woken."""
        with self._one:
            socket.socket.shutdown(self._sock, how)  # SSLSocket's would make the reader read ciphertext.

    def close(self) -> None:
        """Give the descriptor back, as soon as nobody waits at it."""
        with self._one:
            self._closed = True
            with suppress(OSError):  # Not connected any more.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            self._close_unless_awaited()

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return self._sock.fileno()

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        """As a socket's."""
        self._sock.setsockopt(level, name, value)

    def getsockname(self) -> Any:
        """As a socket's."""
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        """As a socket's."""
        return self._sock.getpeername()

    def _poll(self, fault: ssl.SSLError) -> select.poll:
        """What OpenSSL waits for; to be waited for without the lock. Raises what is no wait."""
        poll = select.poll()
        if isinstance(fault, ssl.SSLWantReadError):
            poll.register(self._sock, select.POLLIN)
        elif isinstance(fault, ssl.SSLWantWriteError):
            poll.register(self._sock, select.POLLOUT)
        else:
            raise fault
        self._waiting += 1
        return poll

    def _wait(self, poll: select.poll, deadline_s: float | None) -> None:
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        try:
            if not poll.poll(None if left_s is None else left_s * 1000):
                raise TimeoutError("the peer takes nothing")
        finally:
            with self._one:
                self._waiting -= 1
                if self._closed:
                    self._close_unless_awaited()

    def _close_unless_awaited(self) -> None:
        if not self._waiting:
            self._sock.close()
