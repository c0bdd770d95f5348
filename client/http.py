"""A runtime's HTTP interface, synchronously, on one kept connection.

JSON goes in and out as plain dicts: no model is built, so that a command
starts fast. One client belongs to one thread.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
from collections.abc import Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

from .address import Address
from .call import (
    ANSWER_BYTES_MAX,
    ANSWER_TIMEOUT_S,
    ARCHIVE_TYPE,
    CONNECT_TIMEOUT_S,
    UPLOAD_TIMEOUT_S,
    Answer,
    Call,
    Json,
    Query,
    api_error,
    decoded,
)
from .faults import Unreachable
from .trust import tls_reason

A = TypeVar("A")

PIECE_BYTES: Final = 256 << 10


class Client:
    """Requests to one runtime.

    Every call raises `ApiError` when the runtime refuses, `Unreachable` when it
    does not answer, and `BadAnswer` when what answers is no runtime.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: http.client.HTTPConnection | None = None
        self._was_open = False
        self._unused = False  # Nothing was asked on it yet.

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

    def connect(self) -> None:
        """Be connected, and ask nothing yet. Raises Unreachable."""
        try:
            self._open()
        except OSError as fault:
            raise self._unreachable(fault) from fault
        self._unused = True

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, query: Query | None = None) -> Json:
        """The JSON object at a path."""
        return self.ask(
            Call(method="GET", path=path, query=query or {}, read_answer=_object, repeatable=True)
        )

    def post(
        self,
        path: str,
        body: Json | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Json:
        """The JSON answer to a change."""
        return self.ask(
            Call(
                method="POST",
                path=path,
                content=None if body is None else _encoded(body),
                headers={**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})},
                read_answer=_object,
                timeout_s=timeout_s,
            )
        )

    def delete(self, path: str) -> None:
        """Remove what is at a path."""
        self.ask(Call(method="DELETE", path=path, read_answer=_content))

    def get_bytes(self, path: str, query: Query | None = None) -> bytes:
        """The bytes at a path, as they are."""
        return self.ask(
            Call(method="GET", path=path, query=query or {}, read_answer=_content, repeatable=True)
        )

    def ask(self, call: Call[A]) -> A:
        """The answer to a call. One that is repeatable is sent again when the kept connection was closed."""
        return call.read(self._exchange(call))

    def download(self, path: str) -> Generator[bytes, None, None]:
        """The bytes at a path, some at a time, however many there are. An answer that is cut raises."""
        try:
            response = self._answer_to("GET", path)
            while piece := _read_some(response):
                yield piece
        except (OSError, http.client.HTTPException) as fault:
            raise self._unreachable(fault) from fault
        finally:
            self.close()

    def upload(self, path: str, pieces: Iterable[bytes], size_bytes: int | None) -> Json:
        """The JSON answer to a body of any size, which is sent as it is read; None: its size is not known.

        What `pieces` raises passes through. A runtime that refuses need not take all of it.
        """
        try:
            answer = self._exchange_upload(path, pieces, size_bytes)
        except _Unread as unread:
            raise unread.fault from None
        except (OSError, http.client.HTTPException) as fault:
            raise self._unreachable(fault) from fault
        finally:
            self.close()
        return Call(method="POST", path=path, read_answer=_object).read(answer)

    def _answer_to(self, method: str, path: str) -> http.client.HTTPResponse:
        """The answer without its body. Raises ApiError for a refusal, and what the connection raises."""
        self.close()  # A fresh one: what a long answer leaves of it is not worth keeping.
        connection = self._open()
        assert connection.sock is not None
        connection.sock.settimeout(ANSWER_TIMEOUT_S)
        connection.request(method, self.address.path + path, headers=self.address.headers())
        response = _checked(connection.getresponse())
        if not 200 <= response.status < 300:
            raise api_error(_answer(response))
        return response

    def _exchange_upload(self, path: str, pieces: Iterable[bytes], size_bytes: int | None) -> Answer:
        self.close()
        connection = self._open()
        assert connection.sock is not None
        connection.sock.settimeout(ANSWER_TIMEOUT_S)
        self._pass_tickets(connection)
        headers = {**self.address.headers(), "Content-Type": ARCHIVE_TYPE}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        sent = _until_answered(pieces, connection.sock.fileno())
        with contextlib.suppress(_Answered, ConnectionError):  # A refusal may come first; it is read below.
            connection.request("POST", self.address.path + path, sent, headers)
        connection.sock.settimeout(UPLOAD_TIMEOUT_S)
        return _answer(connection.getresponse())

    def _pass_tickets(self, connection: http.client.HTTPConnection) -> None:
        """Read what TLS 1.3 says after its handshake (RFC 8446, 4.6.1): it would be taken for an answer."""
        if self.address.secure:
            connection.request("GET", f"{self.address.path}/healthz", headers=self.address.headers())
            _answer(connection.getresponse())

    def _exchange(self, call: Call[A]) -> Answer:
        may_be_stale = self._connection is not None and call.repeatable
        try:
            try:
                return self._exchange_once(call)
            except ConnectionError:
                if not may_be_stale:
                    raise
                self.close()  # Closed by the server as we wrote; it may be sent again (RFC 9110, 9.2.2).
                return self._exchange_once(call)
        except (OSError, http.client.HTTPException) as fault:
            unreachable = self._unreachable(fault)
            self.close()
            raise unreachable from fault
        except BaseException:
            self.close()  # Half an exchange leaves a connection that nobody can use.
            raise

    def _exchange_once(self, call: Call[A]) -> Answer:
        connection = self._open()
        assert connection.sock is not None
        connection.sock.settimeout(call.timeout_s)
        headers = {**self.address.headers(), **call.headers}
        connection.request(call.method, self.address.path + call.target, call.content, headers)
        return _answer(connection.getresponse())

    def _unreachable(self, fault: Exception) -> Unreachable:
        """What a broken exchange means; without a connection, nothing was sent."""
        lost: Literal["late", "lost"] = "late" if isinstance(fault, TimeoutError) else "lost"
        return Unreachable(self.address.url, _reason(fault), lost if self._was_open else "unsent")

    def _open(self) -> http.client.HTTPConnection:
        """The kept connection, or a new one when the server has closed it meanwhile."""
        kept, self._was_open = self._connection, True
        unused, self._unused = self._unused, False  # What TLS 1.3 says after its handshake can be read then.
        if kept is not None and kept.sock is not None and (unused or not _readable(kept.sock.fileno())):
            return kept
        self.close()
        self._was_open = False
        self._connection = _connection(self.address)
        self._connection.connect()
        self._was_open = True  # Whatever happens now, something may have been sent.
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


def _object(answer: Answer) -> Json:
    said = decoded(answer.content)
    if said is None:
        raise ValueError("no JSON object")
    return said


def _content(answer: Answer) -> bytes:
    return answer.content


def _encoded(body: Json) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _checked(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    """An answer that says how long it is.

    `http.client` takes a head that was cut in its middle for a whole one. Without
    the length, which is behind it, nobody can tell that from an answer without a body.
    """
    if response.length is None and not response.chunked:
        response.close()
        raise http.client.IncompleteRead(b"")
    return response


def _answer(response: http.client.HTTPResponse) -> Answer:
    _checked(response)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, response.reason, headers, _whole(response))


def _connection(address: Address) -> http.client.HTTPConnection:
    context = address.tls()
    if context is not None:
        return http.client.HTTPSConnection(
            address.host, address.port, timeout=CONNECT_TIMEOUT_S, context=context
        )
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
    of_tls = tls_reason(fault)
    if of_tls is not None:
        return of_tls
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
