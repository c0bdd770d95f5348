"""A TCP proxy that treats connections as a bad network does.

Each connection takes the next `Fate`; behind the last one all is well. Bytes
are forwarded as they are, but for a header that a fate leaves out.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal

READ_BYTES = 4096
_SUBPROTOCOL: Final = b"sec-websocket-protocol:"


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one connection, as soon as so many bytes of one side were forwarded.

    `reset` and `close` end it, for both sides; `stall` forwards nothing more and
    says nothing; `pause` is a stall that is over after `pause_s`. With
    `after_bytes` None nothing happens. `piece_bytes` is the most that is sent at
    once, `delay_s` what each piece waits before; `speaks_v2` False takes the
    offer of the feed's version 2 out of the request, so that the server speaks version 1.
    A connection whose first request begins with `unasked` is reset, and the server hears nothing of it.
    """

    after_bytes: int | None = None
    ends: Literal["reset", "close", "stall", "pause"] = "reset"
    of: Literal["server", "client"] = "server"
    piece_bytes: int = READ_BYTES
    delay_s: float = 0.0
    pause_s: float = 0.1
    speaks_v2: bool = True
    unasked: bytes = b""


class Proxy:
    """Forwards connections to a server; a number among the fates is a reset after so many of its bytes."""

    def __init__(
        self, target: tuple[str, int], fates: Sequence[int | Fate], *, speaks_v2: bool = True
    ) -> None:
        self._target = target
        self._fates = [fate if isinstance(fate, Fate) else Fate(fate) for fate in fates]
        self._speaks_v2 = speaks_v2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[_Connection] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.connections = 0
        self.cuts_made = 0
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def aim(self, host: str, port: int) -> None:
        """Lead new connections there: to the next server, under the address of the first."""
        self._target = (host, port)

    def cut(self) -> None:
        """Cut what is connected now."""
        with self._lock:
            for connection in self._open:
                connection.sever("reset")

    def close(self) -> None:
        """No new connections, and none of the old ones."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                fate = self._fates.pop(0) if self._fates else Fate()
            thread = threading.Thread(target=self._serve, args=(client, fate), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, fate: Fate) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            connection = _Connection(client, server, fate, self._closing, speaks_v2=self._speaks_v2)
            with self._lock:
                self._open.add(connection)
            try:
                connection.forward()
            finally:
                with self._lock:
                    self._open.discard(connection)
                    self.cuts_made += connection.was_cut


@dataclass(eq=False, slots=True)
class _Connection:
    """One connection and its fate."""

    client: socket.socket
    server: socket.socket
    fate: Fate
    closing: threading.Event
    speaks_v2: bool
    was_cut: bool = False
    _left: int | None = field(init=False)
    _head: bytes = b""
    _head_is_over: bool = False
    _held: bytes = b""
    _is_known: bool = False

    def __post_init__(self) -> None:
        self._left = self.fate.after_bytes
        for end in (self.client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def forward(self) -> None:
        """Until one side has closed, or the fate has come. Raises OSError: a side is gone."""
        while True:
            for source in select.select([self.client, self.server], [], [])[0]:
                counted = (source is self.server) is (self.fate.of == "server")
                most = READ_BYTES if self._left is None or not counted else min(READ_BYTES, self._left)
                data = source.recv(most)
                if not data:
                    return
                self._pass_on(source, data)
                if counted and self._left is not None:
                    self._left -= len(data)
                    if self._left <= 0 and self._meet_fate():
                        return

    def sever(self, how: Literal["reset", "close"]) -> None:
        """End both sides: with a reset, or as a peer does who leaves in order."""
        for end in (self.client, self.server):
            with suppress(OSError):
                if how == "reset":
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)

    def _meet_fate(self) -> bool:
        """What was to happen; whether the connection is over."""
        self.was_cut, self._left = True, None
        if self.fate.ends == "pause":
            self.closing.wait(self.fate.pause_s)
            return False
        if self.fate.ends == "stall":
            self._stall()
            return True
        self.sever(self.fate.ends)
        return True

    def _stall(self) -> None:
        """Take nothing and give nothing, until a side is gone: a peer that vanished does as much."""
        gone = select.POLLRDHUP | select.POLLHUP | select.POLLERR
        poll = select.poll()
        for end in (self.client, self.server):
            poll.register(end, gone)
        poll.poll()

    def _pass_on(self, source: socket.socket, data: bytes) -> None:
        if source is self.client:
            data = self._asked(data)
            self._send(self.server, data if self.speaks_v2 and self.fate.speaks_v2 else self._without(data))
        else:
            self._send(self.client, data)

    def _asked(self, data: bytes) -> bytes:
        """What may be passed on of what the client says; nothing before it is known. Raises OSError."""
        if self._is_known:
            return data
        self._held += data
        unasked = self.fate.unasked
        if unasked.startswith(self._held[: len(unasked)]) and unasked:
            if len(self._held) < len(unasked):
                return b""
            self.was_cut = True
            self.sever("reset")
            raise ConnectionResetError
        self._is_known = True
        return self._held

    def _send(self, to: socket.socket, data: bytes) -> None:
        for place in range(0, len(data), self.fate.piece_bytes):
            if self.fate.delay_s:
                self.closing.wait(self.fate.delay_s)
            to.sendall(data[place : place + self.fate.piece_bytes])

    def _without(self, data: bytes) -> bytes:
        """The request without the offer of a subprotocol; of its head nothing before all of it is here."""
        if self._head_is_over:
            return data
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return b""
        self._head_is_over = True
        head, _, rest = self._head.partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(_SUBPROTOCOL)]
        return b"\r\n".join(kept) + b"\r\n\r\n" + rest


@contextmanager
def cutting(
    host: str, port: int, fates: Sequence[int | Fate] = (), *, speaks_v2: bool = True
) -> Iterator[Proxy]:
    """A proxy to a server; closed after the block. `speaks_v2` as a fate has it, for every connection."""
    proxy = Proxy((host, port), fates, speaks_v2=speaks_v2)
    try:
        yield proxy
    finally:
        proxy.close()
