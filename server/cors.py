"""What a browser asks before a page of a listed origin may use this server (Fetch standard, "CORS protocol").

Without `--allow-origin` nothing here is ever reached: an origin that is not
listed was refused before.
"""

from __future__ import annotations

from .asgi import Headers, Scope, header

_HEADERS = b"authorization, content-type, idempotency-key, range"
_EXPOSED = b"content-range, retry-after"
_METHODS = b"GET, POST, DELETE"
_MAX_AGE_S = b"600"


def is_preflight(scope: Scope) -> bool:
    """Whether a browser only asks if it may ask; it sends no token with that."""
    return (
        scope["type"] == "http"
        and scope["method"] == "OPTIONS"
        and header(scope, b"origin") is not None
        and header(scope, b"access-control-request-method") is not None
    )


def preflight_headers() -> Headers:
    """Yes, and how."""
    return [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _HEADERS),
        (b"access-control-max-age", _MAX_AGE_S),
    ]


def origin_headers(origin: str) -> Headers:
    """For every answer to a page of a listed origin."""
    return [
        (b"access-control-allow-origin", origin.encode("latin1")),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"origin"),
    ]
