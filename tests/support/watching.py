"""One feed over each transport, opened and read to its end, by clients that are not ours."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .patience import PATIENCE_S, PATIENT_SOCKET
from .serving import Served

SUBPROTOCOL: Final = "watchglass.feed.v2"
POLL_S: Final = 20


class Refused(Exception):
    """The feed was not opened."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


class Farewell(NamedTuple):
    """How a feed ended: a close code or a status, and the code that was told last."""

    code: int
    said: str | None


class Watch:
    """A feed that is open."""

    def __init__(self, farewell: Callable[[], Farewell]) -> None:
        self.farewell = farewell
        """Read on to the end."""


def _path(worker_id: str | None, query: str) -> str:
    return f"/v1/events{query}" if worker_id is None else f"/v1/workers/{worker_id}/events{query}"


def _bearer(served: Served) -> dict[str, str]:
    return {"Authorization": f"Bearer {served.token}"}


@contextmanager
def socket_feed(served: Served, path: str, subprotocol: str | None = None) -> Iterator[ClientConnection]:
    """A WebSocket. Raises Refused."""
    try:
        connection = connect(
            f"ws://{served.host}:{served.port}{path}",
            additional_headers=_bearer(served),
            subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
            compression=None,
            proxy=None,
            max_size=None,
            **PATIENT_SOCKET,
        )
    except InvalidStatus as refusal:
        body = json.loads(refusal.response.body or b"{}")
        raise Refused(refusal.response.status_code, body["error"]["code"]) from None
    with connection:
        yield connection


def socket_farewell(connection: ClientConnection) -> Farewell:
    """Read a WebSocket to its end."""
    last: Any = {}
    try:
        while True:
            last = json.loads(connection.recv(PATIENCE_S))
    except ConnectionClosed:
        assert connection.close_code is not None
        told = last.get("diagnostic", last)
        return Farewell(connection.close_code, told.get("code"))


@contextmanager
def _version_1(served: Served, worker_id: str) -> Iterator[Watch]:
    with socket_feed(served, f"{_path(worker_id, '')}/ws?cursor=latest") as connection:
        connection.recv(PATIENCE_S)  # The snapshot: it has a place.
        yield Watch(lambda: socket_farewell(connection))


@contextmanager
def _version_2(served: Served, worker_id: str | None) -> Iterator[Watch]:
    with socket_feed(served, f"{_path(worker_id, '')}/ws?cursor=latest", SUBPROTOCOL) as connection:
        connection.recv(PATIENCE_S)
        yield Watch(lambda: socket_farewell(connection))


@contextmanager
def _asked(served: Served, path: str, headers: dict[str, str]) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(served.host, served.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers={**_bearer(served), **headers})
        yield connection
    finally:
        connection.close()


@contextmanager
def _stream(served: Served, worker_id: str | None) -> Iterator[Watch]:
    with _asked(served, _path(worker_id, "?cursor=latest"), {"Accept": "text/event-stream"}) as connection:
        response = connection.getresponse()
        if response.status != 200:
            raise Refused(response.status, json.loads(response.read())["error"]["code"])
        response.readline()

        def farewell() -> Farewell:
            data = [line for line in response.read().splitlines() if line.startswith(b"data: ")]
            return Farewell(response.status, json.loads(data[-1][6:]).get("code"))

        yield Watch(farewell)


@contextmanager
def _poll(served: Served, worker_id: str | None) -> Iterator[Watch]:
    with _asked(served, _path(worker_id, f"?cursor=latest&wait_s={POLL_S}"), {}) as connection:

        def farewell() -> Farewell:
            response = connection.getresponse()
            said = json.loads(response.read())
            return Farewell(response.status, said.get("error", {}).get("code"))

        yield Watch(farewell)


Open = Callable[[Served, str], AbstractContextManager[Watch]]
OF_EVERYBODY: Final[dict[str, Callable[[Served, None], AbstractContextManager[Watch]]]] = {
    "websocket_v2": _version_2,
    "sse": _stream,
    "long_poll": _poll,
}
"""The runtime's own feed, which version 1 has not."""
TRANSPORTS: Final[dict[str, Open]] = {
    "websocket_v1": _version_1,
    "websocket_v2": _version_2,
    "sse": _stream,
    "long_poll": _poll,
}
"""By their names in metrics. A long poll tells of its refusal in its farewell; the others raise Refused."""


def opened(served: Served, transport: str, worker_id: str) -> Farewell | None:
    """Open a feed and leave; how it was refused, or None."""
    try:
        if transport == "long_poll":
            with _asked(served, _path(worker_id, "?cursor=latest&wait_s=0"), {}) as connection:
                response = connection.getresponse()
                said = json.loads(response.read())
                refused = response.status != 200
                return Farewell(response.status, said["error"]["code"]) if refused else None
        with TRANSPORTS[transport](served, worker_id):
            return None
    except Refused as refusal:
        return Farewell(refusal.status, refusal.code)
