"""A session over a raw socket: prepared frames out, answers counted."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any, Self

import orjson
from frames import Frames
from serving import RECEIVE_BYTES, TIMEOUT_S, Server

_MASK = 0x80
_GOOD = b'"status":2'


def frame(method: str, number: int, **params: object) -> bytes:
    """A request as a client sends it; its mask is nothing."""
    text = orjson.dumps({"kind": "request", "id": number, "method": method, "params": params})
    size = len(text)
    if size < 126:
        return bytes((0x81, _MASK | size, 0, 0, 0, 0)) + text
    return struct.pack("!BBH4x", 0x81, _MASK | 126, size) + text


class Backend:
    """One session."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection((server.host, server.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /v1/session/ws HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
            f"Authorization: Bearer {server.token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: watchglass.session.v1\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        if b" 101 " not in received.partition(b"\r\n")[0]:
            raise RuntimeError(f"no session: {received.decode(errors='replace')}")
        self._frames = Frames()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, method: str, **params: object) -> Any:
        """The result of one command; any refusal is an error here."""
        self._socket.sendall(frame(method, 0, **params))
        [answer] = self._answers()
        return orjson.loads(answer)["result"]

    def pipeline(self, requests: Sequence[bytes], window: int) -> None:
        """Send all, with so many under way; return when all are answered."""
        self._socket.sendall(b"".join(requests[:window]))
        sent, answered = min(window, len(requests)), 0
        while answered < len(requests):
            came = len(self._answers())
            answered += came
            if sent < len(requests):
                self._socket.sendall(b"".join(requests[sent : sent + came]))
                sent += came

    def _answers(self) -> list[bytes]:
        answers: list[bytes] = []
        while not answers:
            answers = self._frames.split(self._receive())
        for answer in answers:
            if _GOOD not in answer[:64]:
                raise RuntimeError(f"the server answered {answer.decode()}")
        return answers

    def _receive(self) -> bytes:
        received = self._socket.recv(RECEIVE_BYTES)
        if not received:
            raise RuntimeError("the server has closed")
        return received
