"""`GET /v1/workers/{id}/events` and `GET /v1/events`: which of two ways to the events is asked for.

They go past Quart, as the WebSockets do; `POST` on the same path appends, and is Quart's.
"""

from __future__ import annotations

import re
from typing import Final

from watchglass.protocol.errors import MethodNotAllowed

from .asgi import Scope, header

EVENTS_ROUTE: Final = "/v1/workers/{worker_id}/events"
ALL_EVENTS_ROUTE: Final = "/v1/events"
ALL_FEED_ROUTE: Final = "/v1/events/ws"
_EVENTS_PATH = re.compile(r"/v1/workers/([^/]*)/events\Z")
_STREAM = "text/event-stream"


def asked_events_of(scope: Scope) -> str | None:
    """The worker id, unchecked, whose events a request asks for; None for another request."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    match = _EVENTS_PATH.match(scope["path"])
    return None if match is None else match[1]


def asks_for_all_events(scope: Scope) -> bool:
    """Whether a request is for the runtime's feed, on whatever transport. Raises MethodNotAllowed."""
    if scope["type"] == "websocket":
        return scope["path"] in {ALL_EVENTS_ROUTE, ALL_FEED_ROUTE}
    if scope["path"] != ALL_EVENTS_ROUTE:
        return False
    if scope["method"] != "GET":
        raise MethodNotAllowed(scope["method"], scope["path"])
    return True


def is_events_path(path: str) -> bool:
    """Whether `GET` is among the methods of a path, though Quart does not know it."""
    return path == ALL_EVENTS_ROUTE or _EVENTS_PATH.match(path) is not None


def asks_for_stream(scope: Scope) -> bool:
    """Whether server-sent events are wanted; without that, one answer is."""
    accepted = (header(scope, b"accept") or "").lower()
    return any(kind.partition(";")[0].strip() == _STREAM for kind in accepted.split(","))
