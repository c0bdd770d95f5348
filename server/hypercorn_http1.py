"""HTTP/1.1 as Hypercorn 0.18 and h11 speak it, and what they have no answer to. It too knows their inside.

* What is no HTTP they refuse with an empty body. Here every refusal says what is wrong,
  in the shape of all others.
* h11 takes `HTTP/2.0` and `HTTP/9.9` for versions of its own, and Hypercorn then answers
  with half of one and half of another.
* A request with both a Content-Length and chunks is how requests are smuggled past a
  proxy; the connection would have to end after it (RFC 9112, 6.1), so it is refused.
* Hypercorn falls over an upgrade whose headers are no ASCII, takes any Sec-WebSocket-Key,
  and leaves the connection open on which it refused one.
* It falls over an upgrade to HTTP/2 whose settings are none; RFC 7540 (3.2.1) wants
  that to be no upgrade at all.
"""

from __future__ import annotations

import base64
from http import HTTPStatus
from typing import Any, Final

import h11
import hypercorn.protocol
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from hypercorn.protocol.h11 import H11Protocol
from hyperframe.exceptions import HyperframeError

from watchglass.protocol.errors import InvalidRequest, cut

from .errors import error_answer

_VERSIONS: Final = frozenset({b"1.0", b"1.1"})
_KEY_BYTES: Final = 16
_READ_AS_ASCII: Final = frozenset(
    {b"connection", b"sec-websocket-extensions", b"sec-websocket-protocol", b"upgrade"}
)
_UPGRADE: Final = ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"))


class Requests(h11.Connection):
    """What a client sends, looked at once more when h11 has found it sound."""

    fault = ""
    """What is wrong with the last of it, if something is."""
    is_head = False
    """Whether its answer may have no body."""

    def next_event(self) -> Any:
        """As h11's."""
        if self.their_state is h11.IDLE:
            self.is_head = False
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self.is_head = event.method == b"HEAD"
                check_request(event)
        except h11.RemoteProtocolError as fault:
            self.fault = str(fault)
            raise
        return event


class Http1(H11Protocol):
    """One connection."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._requests = Requests(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self.connection = self._requests

    async def _check_protocol(self, event: h11.Request) -> None:
        if not _asks_for_http2(event) or _has_settings(event):
            await super()._check_protocol(event)

    async def _send_error_response(self, status_code: int) -> None:
        _, named, content = error_answer(
            InvalidRequest(f"the request cannot be taken: {self._why(status_code)}")
        )
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        if status_code == HTTPStatus.UPGRADE_REQUIRED:
            headers += _UPGRADE
        headers += [(b"content-length", b"%d" % len(content)), (b"connection", b"close")]
        headers += self.config.response_headers("h11")
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if not self._requests.is_head:
            await self._send_h11_event(h11.Data(data=content))
        await self._send_h11_event(h11.EndOfMessage())

    def _why(self, status_code: int) -> str:
        if status_code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return f"its head, or that of a chunk, is over {self.config.h11_max_incomplete_size} bytes"
        said, _, _what_came = self._requests.fault.partition(": bytearray(")  # It may have a secret in it.
        return cut(said)


def check_request(request: h11.Request) -> None:
    """Whether the head of a request is one that we can serve. Raises h11.RemoteProtocolError."""
    names = {name for name, _ in request.headers}
    if request.http_version not in _VERSIONS and not _is_preface(request):
        version = request.http_version.decode()
        raise _refused(f"HTTP/{version} is not spoken here", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if b"transfer-encoding" in names and b"content-length" in names:
        raise _refused("it has both a Content-Length and a Transfer-Encoding")
    if b"upgrade" in names and _asks_for_websocket(request):
        _check_websocket(request)


def _check_websocket(request: h11.Request) -> None:
    """RFC 6455, section 4.2.1."""
    if request.http_version != b"1.1":
        raise _refused("a WebSocket needs HTTP/1.1")
    for name in sorted(_READ_AS_ASCII):
        if not all(value.isascii() for value in _values(request, name)):
            raise _refused(f"the header {name.decode()} of an upgrade must be ASCII")
    if _values(request, b"sec-websocket-version") != [b"13"]:
        raise _refused("the header sec-websocket-version must be 13", HTTPStatus.UPGRADE_REQUIRED)
    if not _is_key(_values(request, b"sec-websocket-key")):
        raise _refused("the header sec-websocket-key must be there once, with 16 bytes in Base64")


def _asks_for_websocket(request: h11.Request) -> bool:
    """By the rule of Hypercorn, which looks at the last of each header."""
    upgrade, connection = _values(request, b"upgrade"), _values(request, b"connection")
    tokens = connection[-1].lower().split(b",") if connection else []
    return (
        request.method.upper() == b"GET"
        and upgrade[-1].strip().lower() == b"websocket"
        and any(token.strip() == b"upgrade" for token in tokens)
    )


def _asks_for_http2(request: h11.Request) -> bool:
    return any(value.strip().lower() == b"h2c" for value in _values(request, b"upgrade"))


def _has_settings(request: h11.Request) -> bool:
    """Whether it says with which settings to begin: once, and such as there may be."""
    try:
        (said,) = _values(request, b"http2-settings")
        H2Connection(H2Configuration(client_side=False)).initiate_upgrade_connection(said)
    except (ValueError, HyperframeError, ProtocolError):
        return False
    return True


def _is_preface(request: h11.Request) -> bool:
    """Whether it is how HTTP/2 begins (RFC 9113, 3.4)."""
    return (request.method, request.target, request.http_version) == (b"PRI", b"*", b"2.0")


def _is_key(values: list[bytes]) -> bool:
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == _KEY_BYTES
    except ValueError:
        return False


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for found, value in request.headers if found == name]


def _refused(reason: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> h11.RemoteProtocolError:
    return h11.RemoteProtocolError(reason, error_status_hint=status)


setattr(hypercorn.protocol, H11Protocol.__name__, Http1)  # By this name Hypercorn makes it.
