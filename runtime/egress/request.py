"""What a worker's program asks of its proxy: one request head, read strictly.

    CONNECT example.org:443 HTTP/1.1        a tunnel for whatever the two then speak
    GET http://example.org/path HTTP/1.1    a request to be sent on (RFC 9112, 3.2.2)

The target says where to; a Host header that says something else counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import h11

from watchglass.protocol.places import Place, place_of

HEAD_BYTES_MAX = 32 * 1024

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
"""What is sent on, beside CONNECT."""

Headers = list[tuple[bytes, bytes]]

_SCHEME = "http://"
_HTTP_PORT = 80
_PER_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class BadRequest(Exception):
    """It is no request that this proxy takes; `status` is the answer."""

    def __init__(self, said: str, status: int = 400) -> None:
        super().__init__(said)
        self.status = status


class Asked(NamedTuple):
    """Where to, and for a request that is sent on its target there; None: a tunnel."""

    place: Place
    target: bytes | None


def asked_by(request: h11.Request) -> Asked:
    """What a head asks for. Raises BadRequest."""
    target = request.target.decode("latin-1")
    try:
        if request.method == b"CONNECT":
            return Asked(place_of(target), None)
        if request.method not in METHODS:
            raise BadRequest(f"no method {request.method.decode()!r}", 501)
        return _absolute(target, request.method)
    except ValueError as fault:
        raise BadRequest(f"target: {fault}") from None


def _absolute(target: str, method: bytes) -> Asked:
    """Raises ValueError."""
    if target[: len(_SCHEME)].lower() != _SCHEME or "#" in target:
        raise ValueError("must be http://host[:port]/path, and for everything else CONNECT host:port")
    rest = target[len(_SCHEME) :]
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if path == "" and method == b"OPTIONS":  # RFC 9112, 3.2.4.
        path = "*"
    elif not path.startswith("/"):
        path = f"/{path}"
    return Asked(place_of(authority, default_port=_HTTP_PORT), path.encode("latin-1"))


def headers_onward(request: h11.Request, place: Place) -> Headers:
    """A request's headers as the place gets them: its own Host, nothing that was for us, one request only."""
    host = str(place).removesuffix(f":{_HTTP_PORT}")
    kept = [pair for pair in end_to_end(request.headers) if pair[0] != b"host"]
    if _is_chunked(request.headers):  # The body of unknown length goes on as one.
        kept.append((b"transfer-encoding", b"chunked"))
    return [(b"host", host.encode()), *kept, (b"via", b"1.1 watchglass"), (b"connection", b"close")]


def headers_back(response: h11.Response) -> Headers:
    """A response's headers as the worker gets them."""
    return [*end_to_end(response.headers), (b"via", b"1.1 watchglass"), (b"connection", b"close")]


def end_to_end(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Without those of one connection (RFC 9110, 7.6.1): the known ones and those that Connection names.

    A length beside an encoding is a lie that only one of two readers believes (RFC 9112, 6.3).
    """
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    dropped = _PER_HOP | named | ({b"content-length"} if _is_chunked(headers) else set())
    return [(name, value) for name, value in headers if name not in dropped]


def _is_chunked(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)
