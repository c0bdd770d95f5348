"""A runtime's HTTP interface, synchronously, on one kept connection.

JSON goes in and out as plain dicts: no model is built, so that a command
starts fast. One client belongs to one thread.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from .address import Address
from .faults import ApiError, BadAnswer, Unreachable

Json = dict[str, Any]
Query = Mapping[str, str | int | Sequence[str] | None]

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 3660.0
"""Stop and cancel answer when the worker has ended: the longest grace, and a minute."""
ANSWER_BYTES_MAX: Final = 256 << 20
UPLOAD_TIMEOUT_S: Final = 600.0
"""An upload is answered when the runtime has all of it on its disk."""
PIECE_BYTES: Final = 256 << 10


class Client:
    """Requests to one runtime.

    Every call raises `ApiError` when the runtime refuses, `Unreachable` when it
    does not answer, and `BadAnswer` when what answers is no runtime.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def move(self, address: Address) -> None:
        """Speak to this address from now on: a restarted runtime may have another port."""
        if address != self.address:
            self.close()
            self.address = address

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, query: Query | None = None) -> Json:
        """The JSON object at a path."""
        return self._json("GET", path, query=query)

    def post(
        self,
        path: str,
        body: Json | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Json:
        """The JSON answer to a change."""
        return self._json("POST", path, body=body, headers=headers, timeout_s=timeout_s)

    def delete(self, path: str) -> None:
        """Remove what is at a path."""
        self._request("DELETE", path)

    def get_bytes(self, path: str, query: Query | None = None) -> bytes:
        """The bytes at a path, as they are."""
        return self._request("GET", path, query=query)[1]

    def download(self, path: str) -> Iterator[bytes]:
        """The bytes at a path, some at a time, however many there are. An answer that is cut raises."""
        try:
            response = self._answer_to("GET", path)
            while piece := _read_some(response):
                yield piece
        except (OSError, http.client.HTTPException) as fault:
            raise Unreachable(self.address.url, _reason(fault)) from fault
        finally:
            self.close()

    def upload(self, path: str, pieces: Iterable[bytes], size_bytes: int | None) -> Json:
        """The JSON answer to a body of any size, which is sent as it is read; None: its size is not known.

        What `pieces` raises passes through. A runtime that refuses need not take all of it.
        """
        try:
            return _checked(self.address, path, *self._exchange_upload(path, pieces, size_bytes))
        except _Unread as unread:
            raise unread.fault from None
        except (OSError, http.client.HTTPException) as fault:
            raise Unreachable(self.address.url, _reason(fault)) from fault
        finally:
            self.close()

    def _answer_to(self, method: str, path: str) -> http.client.HTTPResponse:
        """The answer without its body. Raises ApiError for a refusal, and what the connection raises."""
        self.close()  # A fresh one: what a long answer leaves of it is not worth keeping.
        connection = self._open()
        assert connection.sock is not None
        connection.sock.settimeout(ANSWER_TIMEOUT_S)
        connection.request(method, _target(self.address, path, None), headers=self.address.headers())
        response = connection.getresponse()
        if not 200 <= response.status < 300:
            raise api_error(response.status, response.reason, _whole(response))
        return response

    def _exchange_upload(
        self, path: str, pieces: Iterable[bytes], size_bytes: int | None
    ) -> tuple[int, str, bytes]:
        self.close()
        connection = self._open()
        assert connection.sock is not None
        connection.sock.settimeout(ANSWER_TIMEOUT_S)
        headers = {**self.address.headers(), "Content-Type": "application/x-tar"}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        sent = _until_answered(pieces, connection.sock.fileno())
        with contextlib.suppress(_Answered, ConnectionError):  # A refusal may come first; it is read below.
            connection.request("POST", _target(self.address, path, None), sent, headers)
        connection.sock.settimeout(UPLOAD_TIMEOUT_S)
        response = connection.getresponse()
        return response.status, response.reason, _whole(response)

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Json:
        _, answer = self._request(method, path, query=query, body=body, headers=headers, timeout_s=timeout_s)
        return _object(self.address, path, answer)

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> tuple[int, bytes]:
        target = _target(self.address, path, query)
        status, reason, answer = self._exchange(method, target, body, headers or {}, timeout_s)
        if 200 <= status < 300:
            return status, answer
        raise api_error(status, reason, answer)

    def _exchange(
        self, method: str, target: str, body: Json | None, more: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, bytes]:
        headers = {**self.address.headers(), **more}
        content = None
        if body is not None:
            content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(
                "utf-8", "surrogatepass"
            )
            headers["Content-Type"] = "application/json"
        may_be_stale = self._connection is not None and method == "GET"
        try:
            try:
                return self._exchange_once(method, target, content, headers, timeout_s)
            except ConnectionError:
                if not may_be_stale:
                    raise
                self.close()  # Closed by the server as we wrote; a GET may be sent again (RFC 9110, 9.2.2).
                return self._exchange_once(method, target, content, headers, timeout_s)
        except (OSError, http.client.HTTPException) as fault:
            self.close()
            raise Unreachable(self.address.url, _reason(fault)) from fault
        except BaseException:
            self.close()  # Half an exchange leaves a connection that nobody can use.
            raise

    def _exchange_once(
        self, method: str, target: str, content: bytes | None, headers: dict[str, str], timeout_s: float
    ) -> tuple[int, str, bytes]:
        connection = self._open()
        assert connection.sock is not None
        connection.sock.settimeout(timeout_s)
        connection.request(method, target, content, headers)
        response = connection.getresponse()
        return response.status, response.reason, _whole(response)

    def _open(self) -> http.client.HTTPConnection:
        """The kept connection, or a new one when the server has closed it meanwhile."""
        kept = self._connection
        if kept is not None and kept.sock is not None and not _readable(kept.sock.fileno()):
            return kept
        self.close()
        self._connection = _connection(self.address)
        self._connection.connect()
        return self._connection


class _Answered(Exception):
    """The runtime answers before it has all that we would send."""


class _Unread(Exception):
    """What we would send cannot be read."""

    def __init__(self, fault: OSError) -> None:
        self.fault = fault


def _until_answered(pieces: Iterable[bytes], descriptor: int) -> Iterator[bytes]:
    """The same pieces, as long as nothing comes back."""
    following = iter(pieces)
    while True:
        try:
            piece = next(following, b"")
        except OSError as fault:
            raise _Unread(fault) from None
        if not piece:
            return
        if _readable(descriptor):
            raise _Answered
        yield piece


def _read_some(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; none at the end. Raises IncompleteRead when the answer is cut."""
    piece = response.read(PIECE_BYTES)
    if not piece and response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return piece


def _checked(address: Address, path: str, status: int, reason: str, answer: bytes) -> Json:
    if not 200 <= status < 300:
        raise api_error(status, reason, answer)
    return _object(address, path, answer)


def _object(address: Address, path: str, answer: bytes) -> Json:
    said = _decoded(answer)
    if said is None:
        raise BadAnswer(f"{address.url}{path} did not answer as a runtime does")
    return said


def worker_path(worker_id: str, *rest: str) -> str:
    """The path of a worker, or of something of it."""
    return "/".join(["/v1/workers", quote(worker_id, safe=""), *rest])


def api_error(status: int, reason: str, answer: bytes) -> ApiError:
    """The refusal that a body says, or one made of the status line alone."""
    said = _decoded(answer)
    error = said.get("error") if said is not None else None
    if isinstance(error, dict) and isinstance(error.get("code"), str):
        return ApiError(status, error["code"], str(error.get("message", error["code"])))
    return ApiError(status, f"http_{status}", f"the runtime answered {status} {reason}".strip())


def _decoded(answer: bytes) -> Json | None:
    try:
        said = json.loads(answer)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _target(address: Address, path: str, query: Query | None) -> str:
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    return address.path + path + (f"?{urlencode(asked, doseq=True)}" if asked else "")


def _connection(address: Address) -> http.client.HTTPConnection:
    if address.secure:
        return http.client.HTTPSConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S)
    return http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S)


def _whole(response: http.client.HTTPResponse) -> bytes:
    """The body; with a bound, `read` would take a part of it for the whole."""
    answer = response.read(ANSWER_BYTES_MAX)
    if response.length:
        raise http.client.IncompleteRead(answer, response.length)
    return answer


def _readable(descriptor: int) -> bool:
    """On a connection without a request, something to read is its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _reason(fault: Exception) -> str:
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(fault, http.client.IncompleteRead):
        return "the answer was cut off"
    if isinstance(fault, http.client.HTTPException):
        return "what answers does not speak HTTP"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror.lower()
    return str(fault) or type(fault).__name__
