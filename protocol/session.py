"""One connection for a backend: WebSocket subprotocol `watchglass.session.v1` (docs/session.md).

    peer     request {id, method, params} | subscribe {id, worker_id | workers, …} | ping
             | unsubscribe {id, subscription} | cancel {id, request}
    runtime  response {id, status, result | error} | a feed's frames {…, subscription} | pong | diagnostic

A method is an operation of the REST interface under a shorter name: what its
path, its query and its body say stands side by side in `params`, and what it
answers is `result`, or the REST refusal. `METHODS` is the whole table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from .base import BODY_BYTES_MAX, WEBSOCKET_INBOUND_BYTES_MAX, Wire

SUBPROTOCOL: Final = "watchglass.session.v1"
ROUTE: Final = "/v1/session/ws"
FRAME_BYTES_MAX: Final = BODY_BYTES_MAX + WEBSOCKET_INBOUND_BYTES_MAX
"""Of what the peer sends: every body that fits REST, and what stands around it."""
COMMANDS_MAX: Final = 1024
"""Requests of one connection that are under way; the next one is not read before one of them is answered."""
WAITS_MAX: Final = 1024
"""Of one connection, beside those: requests that are answered when something has happened."""
SUBSCRIPTIONS_MAX: Final = 1024
"""Subscriptions of one connection, at any one time."""
ID_CHARS_MAX: Final = 128
ID_NUMBER_MAX: Final = (1 << 53) - 1

REASON_BYTES_MAX: Final = 123
"""Of a close frame (RFC 6455, section 5.5)."""

Id = str | int
Json = dict[str, Any]


class EndCode(StrEnum):
    """Why the runtime ends a session."""

    MALFORMED = "runtime.session_malformed"
    STALLED = "runtime.stalled"
    UPSTREAM_CLOSED = "runtime.upstream_closed"
    UNAVAILABLE = "runtime.unavailable"


CLOSES: Final[dict[EndCode, int]] = {
    EndCode.MALFORMED: 4400,
    EndCode.STALLED: 4408,
    EndCode.UPSTREAM_CLOSED: 1012,
    EndCode.UNAVAILABLE: 4503,
}
"""With what it closes; after the last three a peer may come back, and its cursors are good."""


class SessionEnd(Wire):
    """The last frame of a session. It names no subscription, as the diagnostic of one does."""

    kind: Literal["diagnostic"] = "diagnostic"
    code: EndCode
    message: str
    retry_after_ms: int | None = None


class Route(NamedTuple):
    """An operation of the REST interface."""

    method: str
    path: str


_WORKER: Final = "/v1/workers/{worker_id}"
_TASK: Final = "/api/v1/tasks/{task_id}"

METHODS: Final[dict[str, Route]] = {
    "runtime.get": Route("GET", "/v1/runtime"),
    "runtime.resources": Route("GET", "/v1/runtime/resources"),
    "runtime.capabilities": Route("GET", "/v1/runtime/capabilities"),
    "runtime.probe": Route("POST", "/v1/runtime/probe"),
    "runtime.plan": Route("POST", "/v1/plan"),
    "runtime.drain": Route("POST", "/v1/runtime/drain"),
    "runtime.diagnostics": Route("GET", "/v1/diagnostics"),
    "runtime.events": Route("GET", "/v1/events/batch"),
    "runtime.observers": Route("GET", "/v1/observers"),
    "runtime.health": Route("GET", "/healthz"),
    "runtime.ready": Route("GET", "/readyz"),
    "workers.list": Route("GET", "/v1/workers"),
    "workers.create": Route("POST", "/v1/workers"),
    "workers.get": Route("GET", _WORKER),
    "workers.remove": Route("DELETE", _WORKER),
    "workers.input": Route("POST", f"{_WORKER}/input"),
    "workers.stop": Route("POST", f"{_WORKER}/stop"),
    "workers.cancel": Route("POST", f"{_WORKER}/cancel"),
    "workers.interrupt": Route("POST", f"{_WORKER}/interrupt"),
    "workers.signal": Route("POST", f"{_WORKER}/signal"),
    "workers.close_stdin": Route("POST", f"{_WORKER}/close-stdin"),
    "workers.append_events": Route("POST", f"{_WORKER}/events"),
    "workers.transcript": Route("GET", f"{_WORKER}/transcript"),
    "workers.explain": Route("GET", f"{_WORKER}/explain"),
    "tasks.submit": Route("POST", "/api/v1/tasks"),
    "tasks.list": Route("GET", "/api/v1/tasks"),
    "tasks.get": Route("GET", _TASK),
    "tasks.kill": Route("POST", f"{_TASK}/kill"),
    "tasks.events": Route("GET", f"{_TASK}/events"),
    "tasks.runtime_info": Route("GET", "/api/v1/runtime/info"),
    "tasks.runtime_capabilities": Route("GET", "/api/v1/runtime/capabilities"),
    "tasks.runtime_config": Route("GET", "/api/v1/runtime/config"),
    "tasks.runtime_resources": Route("GET", "/api/v1/runtime/resources"),
}

ABSENT: Final[dict[str, Route]] = {
    "workers.events": Route("GET", f"{_WORKER}/events"),
    "workers.watch": Route("GET", f"{_WORKER}/events/ws"),
    "workers.logs": Route("GET", f"{_WORKER}/logs/{{stream}}"),
    "workers.export": Route("GET", f"{_WORKER}/export"),
    "workers.import": Route("POST", "/v1/workers/import"),
    "runtime.feed": Route("GET", "/v1/events"),
    "runtime.watch": Route("GET", "/v1/events/ws"),
    "runtime.metrics": Route("GET", "/metrics"),
}
"""What is no method here: feeds are subscriptions, and raw bytes of any size are no JSON."""


def is_wait(method: str, params: Json) -> bool:
    """Whether a request is answered when something has happened, and may be cancelled until then."""
    return method == "tasks.get" and bool(params.get("wait_ms"))


def response(id_json: bytes, status: int, result: bytes) -> bytes:
    """The answer to a request; `result` is JSON."""
    return b'{"kind":"response","id":%b,"status":%d,"result":%b}' % (id_json, status, result)


def refusal(id_json: bytes, status: int, body: bytes, retry_after_s: int | None = None) -> bytes:
    """The refusal of a request; `body` is what REST answers, an object."""
    after = b"" if retry_after_s is None else b'"retry_after_s":%d,' % retry_after_s
    return b'{"kind":"response","id":%b,"status":%d,%b%b' % (id_json, status, after, body[1:])


def of_subscription(text: bytes, tail: bytes) -> bytes:
    """A feed's frame as a subscription's; see `subscription_tail`."""
    return text[:-1] + tail


def subscription_tail(id_json: bytes, worker_id: str | None) -> bytes:
    """What ends the frames of a subscription; ids of workers need no escaping. None: of many workers."""
    if worker_id is None:
        return b',"subscription":%b}' % id_json
    return b',"subscription":%b,"worker_id":"%b"}' % (id_json, worker_id.encode())
