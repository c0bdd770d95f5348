"""A client of the HTTP interface that sends exactly what it is told, well-formed or not.

Standard library alone and one connection a request, so that nothing between the
test and the socket is ours.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .patience import PATIENCE_S
from .serving import Served

Json = Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body, which must be JSON."""
        assert self.headers["content-type"].startswith("application/json"), self
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal, which must have the contract's shape."""
        error = self.json["error"]
        assert set(self.json) == {"error"}, self
        assert set(error) == {"code", "message"}, self
        assert error["message"], self
        return str(error["code"])

    @property
    def message(self) -> str:
        """What a refusal says to people."""
        return str(self.json["error"]["message"])


@dataclass(frozen=True, slots=True)
class Api:
    """The interface of one server, with its token."""

    served: Served

    def request(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Sequence[bytes] | None = None,
    ) -> Answer:
        """Send a request; bytes go as they are, anything else as JSON, `chunks` as a chunked body.

        A header of None's meaning does not exist: an empty `Authorization` takes the token away.
        """
        connection = http.client.HTTPConnection(self.served.host, self.served.port, timeout=PATIENCE_S)
        try:
            return exchange(connection, self.served.token, method, path, body, headers=headers, chunks=chunks)
        finally:
            connection.close()

    def connection(self) -> http.client.HTTPConnection:
        """One that stays open, for `exchange`."""
        return http.client.HTTPConnection(self.served.host, self.served.port, timeout=PATIENCE_S)

    def raw(self, request: bytes) -> Answer:
        """Send these bytes, and read one answer."""
        with socket.create_connection((self.served.host, self.served.port), PATIENCE_S) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return _answer(response)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Json:
        """The JSON of a GET that must be answered with 200."""
        answer = self.request("GET", path, headers=headers)
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, body: Json = None) -> Json:
        """The JSON of a POST that must be answered with 200."""
        answer = self.request("POST", path, body)
        assert answer.status == 200, answer
        return answer.json

    def create(self, program: str | None = None, *args: str, **request: Json) -> Json:
        """A new worker's detail: of a program, or passive."""
        if program is not None:
            request["execution"] = {"program": program, "args": list(args), **request.get("execution", {})}
        return self.post("/v1/workers", request)["worker"]

    def worker(self, worker_id: str) -> Json:
        """A worker's detail."""
        return self.get(f"/v1/workers/{worker_id}")["worker"]

    def say(self, worker_id: str, content: str, kind: str = "user") -> Json:
        """The ack of an input."""
        return self.post(f"/v1/workers/{worker_id}/input", {"kind": kind, "content": content})["ack"]

    def act(self, worker_id: str, what: str, body: Json = None) -> Json:
        """The ack of stop, cancel, interrupt, signal or close-stdin."""
        return self.post(f"/v1/workers/{worker_id}/{what}", body)["ack"]

    def log(self, worker_id: str, stream: str = "stdout") -> bytes:
        """All raw bytes of a stream."""
        kept = bytearray()
        while True:
            answer = self.request("GET", f"/v1/workers/{worker_id}/logs/{stream}?offset={len(kept)}")
            if answer.status == 416:
                return bytes(kept)
            assert answer.status in {200, 206}, answer
            if not answer.body:
                return bytes(kept)
            kept += answer.body


def exchange(
    connection: http.client.HTTPConnection,
    token: str,
    method: str,
    path: str,
    body: Json = None,
    *,
    headers: Mapping[str, str] | None = None,
    chunks: Sequence[bytes] | None = None,
) -> Answer:
    """One request and its answer on a connection that stays open."""
    sent = {"Authorization": f"Bearer {token}", **(headers or {})}
    sent = {name: value for name, value in sent.items() if value}
    if chunks is not None:
        connection.request(method, path, iter(chunks), sent, encode_chunked=True)
    else:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, sent)
    return _answer(connection.getresponse())


def _answer(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())
