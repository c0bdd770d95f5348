"""Following one worker over WebSocket, synchronously: `protocol.follow` with a socket.

    with Follower(lambda: address, worker_id, cursor="earliest") as follower:
        for said in follower: ...          # Joined at every connection, Told for every event

It comes back by itself after a lost connection, with jittered waits, and gives
up when nothing answered for `patience_s`. `leave` ends the iteration from a
signal handler or another thread; `sever` loses the connection on purpose.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlencode

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from watchglass.protocol.follow import CLOSED_NORMALLY, Farewell, Following, Joined, Told

from .address import Address
from .faults import Unreachable
from .http import api_error

FRAME_BYTES_MAX: Final = 8 << 20
"""A snapshot holds at most 768 Ki characters, and JSON may need six bytes for one."""
OPEN_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
PING_INTERVAL_S: Final = 20.0
PING_TIMEOUT_S: Final = 20.0
SETTLE_TIMEOUT_S: Final = 1.0
"""How long a worker that looked ended may take to say its last events."""
PATIENCE_S: Final = 60.0

CLOSED_ABNORMALLY: Final = 1006
FINAL_STATUS: Final = frozenset({400, 401, 403, 404, 405, 410})
"""Refusals of the upgrade that another try would not change."""


class Follower:
    """A reader of one worker's feed who survives its connections.

    Iterating raises `FeedRefused` (a diagnostic that is final), `FeedViolation`,
    `ApiError` (refused before the feed began) and `Unreachable` (given up).
    """

    def __init__(
        self,
        where: Callable[[], Address],
        worker_id: str,
        *,
        cursor: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Follow after `cursor`; `where` is asked before every connection.

        Raises:
            CursorMalformed: The cursor is none, nor `earliest` nor `latest`.
        """
        self._where = where
        self._worker_id = worker_id
        self._patience_s = patience_s
        self._following = Following(worker_id, cursor)
        self._connection: ClientConnection | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._leaving = False
        self.connections = 0
        self.last_loss = "no answer"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def cursor(self) -> str | None:
        """Where this reader stands: the last event that was given out."""
        return self._following.cursor

    @property
    def ended(self) -> bool:
        """Whether the worker has ended and everything of it was given out."""
        return self._following.ended

    def close(self) -> None:
        """Give everything back; an iteration that was left in the middle gives its connection back itself."""
        self._wake_reader.close()
        self._wake_writer.close()

    def leave(self) -> None:
        """Make the iteration end, at once. Safe in a signal handler and in any thread."""
        self._leaving = True
        if self._wake_writer.fileno() >= 0:
            self._wake_writer.send(b"\0")
        self.sever()

    def sever(self) -> None:
        """Cut the TCP connection without a goodbye, as a broken network would."""
        connection = self._connection
        if connection is None or connection.socket.fileno() < 0:
            return
        try:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # It was gone already.

    def __iter__(self) -> Iterator[Joined | Told]:
        answered_at = time.monotonic()
        while not self._over():
            began_at = time.monotonic()
            close_code = yield from self._connection_life()
            now = time.monotonic()
            if close_code is not None:
                answered_at = now
            wait_s = self._following.lost(
                jitter=random.random(),  # noqa: S311 - It spreads reconnects and guards nothing.
                lasted_s=now - began_at,
                close_code=close_code,
            )
            if self._over():
                return
            if now - answered_at >= self._patience_s:
                raise Unreachable(self._where().url, self.last_loss)
            select.select([self._wake_reader], [], [], wait_s)

    def _over(self) -> bool:
        return self._leaving or self._following.ended

    def _connection_life(self) -> Generator[Joined | Told, None, int | None]:
        """One connection's frames; how it was closed, None when there was none."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._connect())
            except (OSError, InvalidHandshake) as fault:
                self.last_loss = _refused_for_good(fault)
                return None
            self._connection = connection
            stack.callback(self._forget)
            self._following.opened()
            self.connections += 1
            try:
                yield from self._frames(connection)
            except ConnectionClosed as loss:
                self.last_loss = f"the connection was lost ({loss})"
                return CLOSED_ABNORMALLY if loss.rcvd is None else loss.rcvd.code
        return CLOSED_NORMALLY

    def _frames(self, connection: ClientConnection) -> Iterator[Joined | Told]:
        """What each frame says; returns at the worker's end, or when the reader leaves."""
        while not self._leaving:
            try:
                frame = connection.recv(SETTLE_TIMEOUT_S if self._following.settled else None)
            except TimeoutError:
                return  # It had ended, and has no more to say.
            said = self._following.take(frame)
            if isinstance(said, Farewell):
                self.last_loss = said.message
            else:
                yield said
            if self._following.ended:
                return

    def _connect(self) -> AbstractContextManager[ClientConnection]:
        address, cursor = self._where(), self._following.cursor
        query = "" if cursor is None else f"?{urlencode({'cursor': cursor})}"
        return connect(
            f"{address.websocket_url}/v1/workers/{quote(self._worker_id, safe='')}/events/ws{query}",
            additional_headers=address.headers(),
            compression=None,
            proxy=None,
            max_size=FRAME_BYTES_MAX,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
        )

    def _forget(self) -> None:
        self._connection = None


def _refused_for_good(fault: OSError | InvalidHandshake) -> str:
    """Why there is no connection; raises the refusals that another try would not change."""
    if isinstance(fault, InvalidStatus):
        response = fault.response
        refusal = api_error(response.status_code, response.reason_phrase, bytes(response.body or b""))
        if response.status_code in FINAL_STATUS:
            raise refusal from None
        return str(refusal)
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror.lower()
    return str(fault) or type(fault).__name__
