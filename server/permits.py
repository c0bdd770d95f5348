"""What each endpoint asks of a token. The one table; what is not in it takes a token for everything.

A test compares it with the routes that there are.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from watchglass.protocol.errors import InsufficientScope, RuntimeFault, TaskNotFound, WorkerNotFound
from watchglass.protocol.scopes import (
    DENIED_TO_MOST,
    EVERYTHING,
    Need,
    Reach,
    TokenScope,
    Verdict,
    decide,
)

from .asgi import Scope
from .callers import Caller

_WORKER = "/v1/workers/{worker_id}"
_TASK = "/api/v1/tasks/{task_id}"

_READ_WORKER = Need(TokenScope.OBSERVE, Reach.WORKER)
_READ_LIST = Need(TokenScope.OBSERVE, Reach.LIST)
_READ_RUNTIME = Need(TokenScope.OBSERVE, Reach.RUNTIME)
_DRIVE_WORKER = Need(TokenScope.DRIVE, Reach.WORKER)
_DRIVE_ANY = Need(TokenScope.DRIVE, Reach.RUNTIME)
_ADMIN = Need(TokenScope.ADMIN, Reach.RUNTIME)

NEEDS: Final[dict[tuple[str, str], Need]] = {
    ("GET", "/v1/workers"): _READ_LIST,
    ("POST", "/v1/workers"): _DRIVE_ANY,
    ("POST", "/v1/workers/import"): _ADMIN,
    ("GET", _WORKER): _READ_WORKER,
    ("DELETE", _WORKER): _DRIVE_WORKER,
    ("POST", f"{_WORKER}/input"): _DRIVE_WORKER,
    ("POST", f"{_WORKER}/stop"): _DRIVE_WORKER,
    ("POST", f"{_WORKER}/cancel"): _DRIVE_WORKER,
    ("POST", f"{_WORKER}/interrupt"): _DRIVE_WORKER,
    ("POST", f"{_WORKER}/signal"): _DRIVE_WORKER,
    ("POST", f"{_WORKER}/close-stdin"): _DRIVE_WORKER,
    ("POST", f"{_WORKER}/events"): _DRIVE_WORKER,
    ("GET", f"{_WORKER}/events"): _READ_WORKER,
    ("GET", f"{_WORKER}/events/ws"): _READ_WORKER,
    ("GET", f"{_WORKER}/transcript"): _READ_WORKER,
    ("GET", f"{_WORKER}/explain"): _READ_WORKER,
    ("GET", f"{_WORKER}/logs/{{stream}}"): _READ_WORKER,
    ("GET", f"{_WORKER}/export"): _DRIVE_WORKER,  # The workspace is in it, secrets and all.
    ("GET", "/v1/observers"): _READ_LIST,
    ("GET", "/v1/events"): _READ_RUNTIME,
    ("GET", "/v1/events/ws"): _READ_RUNTIME,
    ("GET", "/v1/events/batch"): _READ_LIST,
    ("GET", "/v1/session/ws"): _READ_LIST,  # Each of its commands is asked for by itself.
    ("GET", "/v1/runtime"): _READ_RUNTIME,
    ("GET", "/v1/runtime/resources"): _READ_RUNTIME,
    ("GET", "/v1/runtime/capabilities"): _READ_RUNTIME,
    ("GET", "/v1/diagnostics"): _READ_RUNTIME,
    ("POST", "/v1/plan"): _DRIVE_ANY,
    ("POST", "/v1/runtime/probe"): _ADMIN,
    ("POST", "/v1/runtime/drain"): _ADMIN,
    ("GET", "/api/v1/tasks"): _READ_LIST,
    ("POST", "/api/v1/tasks"): _DRIVE_ANY,
    ("GET", _TASK): _READ_WORKER,
    ("POST", f"{_TASK}/kill"): _DRIVE_WORKER,
    ("GET", f"{_TASK}/events"): _READ_WORKER,
    ("GET", "/api/v1/runtime/info"): _READ_RUNTIME,
    ("GET", "/api/v1/runtime/capabilities"): _READ_RUNTIME,
    ("GET", "/api/v1/runtime/config"): _READ_RUNTIME,
    ("GET", "/api/v1/runtime/resources"): _READ_RUNTIME,
    ("GET", "/metrics"): _READ_RUNTIME,
}
"""By method and route. HEAD is as GET, and a WebSocket is one. What needs no token: `auth.OPEN_PATHS`."""


class Asked(NamedTuple):
    """What a request wants to do, and to whom."""

    need: Need
    worker_id: str | None = None
    is_task: bool = False


def asked(method: str, path: str) -> Asked:
    """What a request asks of its token; `path` is the decoded one that it is routed by."""
    method = "GET" if method == "HEAD" else method
    if (method, path) in NEEDS:
        return of_route(method, path)
    for pattern, route in _PATTERNS.get(method, ()):
        match = pattern.fullmatch(path)
        if match is not None:
            return of_route(method, route, match["id"])
    return Asked(DENIED_TO_MOST)


def of_route(method: str, route: str, named: str | None = None) -> Asked:
    """What a route asks, or whatever does the same; `named` is the worker or task that it is about."""
    return Asked(NEEDS.get((method, route), DENIED_TO_MOST), named, "{task_id}" in route)


def check(caller: Caller, asks: Asked) -> None:
    """Raises WorkerNotFound or TaskNotFound of a worker that is not this caller's, InsufficientScope."""
    fault = fault_of(caller, asks)
    if fault is not None:
        raise fault


def fault_of(caller: Caller, asks: Asked) -> RuntimeFault | None:
    """Why this caller may not do it, or None."""
    verdict = decide(caller.grant, asks.need, asks.worker_id)
    if verdict is Verdict.ALLOWED:
        return None
    if verdict is Verdict.MISSING_SCOPE:
        bound_to = None if asks.need.reach is Reach.WORKER else caller.grant.worker_id
        return InsufficientScope(asks.need.scope.value, caller.grant.scope.value, bound_to)
    assert asks.worker_id is not None, "it is another worker than the token's"
    return (TaskNotFound if asks.is_task else WorkerNotFound)(asks.worker_id)


def check_request(caller: Caller, scope: Scope) -> None:
    """The same of a request as it came."""
    if caller.grant is not EVERYTHING:  # Who may do all needs no look at the table.
        check(caller, asked(scope.get("method", "GET"), scope["path"]))


def _pattern(route: str) -> re.Pattern[str]:
    whole = re.sub(r"\\{(?:worker|task)_id\\}", r"(?P<id>[^/]+)", re.escape(route))
    return re.compile(re.sub(r"\\{\w+\\}", r"[^/]+", whole))


_PATTERNS: Final[dict[str, list[tuple[re.Pattern[str], str]]]] = {}
for _method, _route in NEEDS:
    if "{" in _route:
        _PATTERNS.setdefault(_method, []).append((_pattern(_route), _route))
