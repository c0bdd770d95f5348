"""websocketd, which sends each line of a command's stdout as one frame: the Debian package `websocketd`."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from frames import Frames
from serving import LOOK_S, RECEIVE_BYTES, START_S, TIMEOUT_S

PROGRAM = "websocketd"


def is_here() -> bool:
    """Whether the host has it."""
    return shutil.which(PROGRAM) is not None


@contextmanager
def websocketd(command: Sequence[str], core: int, others: Iterable[int]) -> Iterator[int]:
    """A server on one core, of a command that may use the others too; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    everywhere = ",".join(map(str, {core, *others}))
    argv = ["taskset", "-c", str(core), PROGRAM, "--address", "127.0.0.1", "--port", str(port)]
    argv += ["--loglevel", "fatal", "taskset", "-c", everywhere, *command]
    with subprocess.Popen(argv) as process:
        try:
            _connected(port).close()
            yield port
        finally:
            process.terminate()


def lines_s(port: int, lines: int) -> float:
    """Seconds from the connect, which starts the command, to its last line; only lengths are looked at."""
    began = time.perf_counter()
    with _connected(port) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += _received(connection)
        head, _, rest = received.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"websocketd refuses: {received.decode(errors='replace')}")
        frames = Frames()
        missing = lines - frames.count(rest)[0]
        while missing > 0:
            missing -= frames.count(_received(connection))[0]
        return time.perf_counter() - began


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(RECEIVE_BYTES)
    if not received:
        raise RuntimeError("websocketd closed the connection")
    return received


def _connected(port: int) -> socket.socket:
    """Looks often until it listens, for it does not say so."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_S)
