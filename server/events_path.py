"""`GET /v1/workers/{id}/events`: which of two ways to the events of a worker is asked for.

They go past Quart, as the WebSockets do; `POST` on the same path appends, and is Quart's.
"""

from __future__ import annotations

import re
from typing import Final

from .asgi import Scope, header

EVENTS_ROUTE: Final = "/v1/workers/{worker_id}/events"
_EVENTS_PATH = re.compile(r"/v1/workers/([^/]*)/events\Z")
_STREAM = "text/event-stream"


def asked_events_of(scope: Scope) -> str | None:
    """The worker id, unchecked, whose events a request asks for; None for another request."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    match = _EVENTS_PATH.match(scope["path"])
    return None if match is None else match[1]


def is_events_path(path: str) -> bool:
    """Whether `GET` is among the methods of a path, though Quart does not know it."""
    return _EVENTS_PATH.match(path) is not None


def asks_for_stream(scope: Scope) -> bool:
    """Whether server-sent events are wanted; without that, one answer is."""
    accepted = (header(scope, b"accept") or "").lower()
    return any(kind.partition(";")[0].strip() == _STREAM for kind in accepted.split(","))
