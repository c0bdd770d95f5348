"""A real `watchglass serve` in a process of its own, and its two doors: HTTP and the feed.

The clients are raw sockets. A library's client would be what is measured: one
that hands out each message costs more than the server does to send it.
"""

from __future__ import annotations

import base64
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
from frames import Frames

START_S = 30
STOP_S = 60
TIMEOUT_S = 60
LOOK_S = 0.005
RECEIVE_BYTES = 256 << 10
_UNREAD = bytearray(RECEIVE_BYTES)
_LISTENING = re.compile(r"watchglass listening on http://(\S+):(\d+) \(runtime (\S+)\)")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens."""

    host: str
    port: int
    token: str
    pid: int
    state_dir: Path

    def connect(self) -> Connection:
        """A connection for requests; close it."""
        return Connection(self)

    def observe(self, worker_id: str, cursor: str = "earliest") -> Feed:
        """A feed of one worker; close it."""
        return Feed(self, worker_id, cursor)


class Connection:
    """HTTP/1.1 with keep-alive, one request at a time."""

    def __init__(self, server: Server) -> None:
        self._head = f"Host: {server.host}:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
        self._socket = _connected(server)
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: object = None) -> Any:
        """What the server answers, decoded; any refusal is an error here."""
        self.begin(method, path, body)
        return self.finish()

    def begin(self, method: str, path: str, body: object = None) -> None:
        """Send a request."""
        content = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\n{self._head}"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + content)

    def finish(self) -> Any:
        """Read the answer."""
        head = self._take(self._wait_for(b"\r\n\r\n"))
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        size = 0 if length is None else int(length[1])
        while len(self._received) < size:
            self._receive()
        content = self._take(size)
        status = int(head.split(b" ", 2)[1])
        if status >= 300:
            raise RuntimeError(f"the server answered {status}: {content.decode()}")
        return orjson.loads(content) if content else None

    def create(self, program: str, *args: str, **more: object) -> str:
        """A worker with a process; its id."""
        execution = {"program": program, "args": list(args)}
        return self._created({"execution": execution, **more})

    def create_passive(self) -> str:
        """A worker without a process; its id."""
        return self._created({})

    def _created(self, request: Mapping[str, object]) -> str:
        return str(self.request("POST", "/v1/workers", request)["worker"]["worker_id"])

    def wait_all_ended(self, timeout_s: float = TIMEOUT_S) -> None:
        """Return when no worker is active; looks often, for there is no event for it."""
        deadline = time.monotonic() + timeout_s
        while self.request("GET", "/v1/runtime")["runtime"]["active_worker_count"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"workers are still active after {timeout_s} s")
            time.sleep(0.005)

    def _wait_for(self, mark: bytes) -> int:
        while (at := self._received.find(mark)) < 0:
            self._receive()
        return at + len(mark)

    def _receive(self) -> None:
        received = self._socket.recv(RECEIVE_BYTES)
        if not received:
            raise RuntimeError("the server closed the connection")
        self._received += received

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


class Feed:
    """One observer. Made when the snapshot has arrived."""

    def __init__(self, server: Server, worker_id: str, cursor: str) -> None:
        self._socket = _connected(server)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /v1/workers/{worker_id}/events/ws?cursor={cursor} HTTP/1.1\r\n"
            f"Host: {server.host}:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, rest = received.partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"no feed: {received.decode(errors='replace')}")
        self._frames = Frames()
        self._ready = self._frames.split(rest)
        while not self._ready:
            self._ready = self._frames.split(self._receive())
        self._ready.pop(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave without a goodbye, as a client that is killed does."""
        self._socket.close()

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def ready(self) -> list[bytes]:
        """Frames after one wait for bytes; may be none."""
        taken, self._ready = self._ready, []
        return taken or self._frames.split(self._receive())

    def count_bytes(self) -> int:
        """How many bytes came after one wait for some; they are not looked at."""
        return self._socket.recv_into(_UNREAD)

    def count_frames(self, frames: int) -> int:
        """Wait for so many frames; how many bytes they had. Only lengths are looked at."""
        size, frames = 0, frames - len(self._ready)
        while frames > 0:
            received = self._receive()
            size += len(received)
            frames -= self._frames.count(received)[0]
        return size

    def count_ready(self) -> int:
        """How many frames came that nobody counted, after one wait for bytes if there are none."""
        if self._ready:
            return len(self.ready())
        return self._frames.count(self._receive())[0]

    def wait_for(self, mark: bytes) -> None:
        """Return when a frame with `mark` in it has come."""
        while not any(mark in frame for frame in self.ready()):
            pass

    def count_to_end(self) -> tuple[int, int]:
        """How many frames came until the worker's `end`, and their bytes; only lengths are looked at."""
        frames, size = len(self._ready), sum(map(len, self._ready))
        ended = any(b'"event":"end"' in frame for frame in self._ready)
        self._ready = []
        while not ended:
            received = self._receive()
            count, last = self._frames.count(received)
            frames += count
            size += len(received)
            ended = b'"event":"end"' in last
            if b'"kind":"diagnostic"' in last[:32]:
                raise RuntimeError(f"the feed ended early: {last.decode()}")
        return frames, size

    def _receive(self) -> bytes:
        received = self._socket.recv(RECEIVE_BYTES)
        if not received:
            raise RuntimeError("the server closed the feed")
        return received


@contextmanager
def serving(*flags: str, core: int | None = None) -> Iterator[Server]:
    """Serve on a free port until the block ends; no worker is left then.

    `core` is for the server's own process; its spawn daemon is not held there
    once `free_workers` is called.
    """
    with tempfile.TemporaryDirectory(prefix="watchglass-bench-") as directory:
        server, process = start(Path(directory), *_stored(flags))
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            yield server
        finally:
            end(process)


def start(state_dir: Path, *flags: str) -> tuple[Server, subprocess.Popen[bytes]]:
    """A server that listens; `end` it."""
    stderr_path = state_dir / "stderr.txt"
    with stderr_path.open("wb") as stderr:
        process = subprocess.Popen(
            watchglass("serve", "--bind", "127.0.0.1:0", *flags),
            env=environment(state_dir),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        listening = _wait_listening(process, stderr_path)
    except BaseException:
        end(process)
        raise
    token = (state_dir / "token").read_text().strip()
    return Server(listening[1], int(listening[2]), token, process.pid, state_dir), process


def end(process: subprocess.Popen[bytes]) -> None:
    """As by Ctrl-C: the workers end, then the server, however they are kept otherwise."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _stored(flags: Sequence[str]) -> Sequence[str]:
    """The memory store unless a flag names another one: no worker is to outlive a case."""
    return flags if any(flag.startswith("--store") for flag in flags) else ["--store", "memory", *flags]


def watchglass(*argv: str) -> list[str]:
    """The command line of the program, as it is installed beside this Python."""
    return [str(Path(sys.executable).with_name("watchglass")), *argv]


def environment(state_dir: Path) -> dict[str, str]:
    """This environment with a state directory of its own, and no other runtime in sight."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATCHGLASS_")}
    return {**kept, "WATCHGLASS_STATE_DIR": str(state_dir)}


def _connected(server: Server) -> socket.socket:
    connected = socket.create_connection((server.host, server.port), TIMEOUT_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _wait_listening(process: subprocess.Popen[bytes], stderr_path: Path) -> re.Match[str]:
    deadline = time.monotonic() + START_S
    pidfd = os.pidfd_open(process.pid)
    try:
        while (found := _LISTENING.search(stderr_path.read_text(errors="replace"))) is None:
            dead, _, _ = select.select([pidfd], [], [], LOOK_S)
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f"serve does not listen: {stderr_path.read_text(errors='replace')}")
        return found
    finally:
        os.close(pidfd)
