"""A TCP proxy that cuts connections, as a bad network does."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

READ_BYTES = 4096


class Proxy:
    """Forwards connections to a server; each is cut after the next number of bytes to its client."""

    def __init__(self, target: tuple[str, int], cuts: Sequence[int]) -> None:
        self._target = target
        self._cuts = list(cuts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.connections = 0
        self.cuts_made = 0
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Cut what is connected now."""
        with self._lock:
            for pair in self._pairs:
                self._sever(pair)

    def close(self) -> None:
        """No new connections, and none of the old ones."""
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
            server = socket.create_connection(self._target)
            with self._lock:
                self.connections += 1
                limit = self._cuts.pop(0) if self._cuts else None
                self._pairs.append((client, server))
            thread = threading.Thread(target=self._forward, args=(client, server, limit), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket, server: socket.socket, limit: int | None) -> None:
        other = {client: server, server: client}
        try:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    most = READ_BYTES if limit is None or source is client else min(READ_BYTES, limit)
                    data = source.recv(most)
                    if not data:
                        return
                    other[source].sendall(data)
                    if source is server and limit is not None:
                        limit -= len(data)
                        if limit <= 0:
                            self.cuts_made += 1
                            self._sever((client, server))
                            return
        except OSError:
            return
        finally:
            with self._lock:
                self._pairs.remove((client, server))
            client.close()
            server.close()

    @staticmethod
    def _sever(pair: tuple[socket.socket, socket.socket]) -> None:
        for end in pair:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(host: str, port: int, cuts: Sequence[int] = ()) -> Iterator[Proxy]:
    """A proxy to a server; closed after the block."""
    proxy = Proxy((host, port), cuts)
    try:
        yield proxy
    finally:
        proxy.close()
