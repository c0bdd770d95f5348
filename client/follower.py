"""Following one worker, or many, over WebSocket, synchronously: `protocol.follow` with a socket.

    with Follower(lambda: address, worker_id, cursor="earliest") as follower:
        for said in follower: ...          # Joined at a connection, Told for an event, Reset

It offers version 2 of the feed; a runtime that does not choose it in its answer
to the upgrade speaks version 1, and is followed all the same. It comes back by
itself after a lost connection, with jittered waits, and gives up when nothing
answered for `patience_s`. `leave` ends the iteration from a
signal handler or another thread; `sever` loses the connection on purpose.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from watchglass.protocol.follow import CLOSED_NORMALLY, OnExpired
from watchglass.protocol.follow_all import Workers, following
from watchglass.protocol.said import Farewell, Joined, Reset, Told

from .address import Address
from .jitter import jitter
from .journey import (
    CLOSE_TIMEOUT_S,
    CLOSED_ABNORMALLY,
    FRAME_BYTES_MAX,
    OPEN_TIMEOUT_S,
    PATIENCE_S,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    QUEUE_FRAMES_MAX,
    SETTLE_TIMEOUT_S,
    SUBPROTOCOLS,
    Journey,
    check_trusted,
    why,
)
from .opening import opened
from .shared_tls import TwoThreadedConnection
from .standing import Standing
from .upgrade import answer_of


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a connection is over, and when the next one is tried; `connections`: how many there have been."""

    why: str
    wait_s: float
    connections: int


class Follower(Standing):
    """A reader of one worker's feed who survives its connections.

    Iterating raises `FeedRefused` (a diagnostic that is final), `FeedViolation`,
    `ApiError` (refused before the feed began) and `Unreachable` (given up).
    """

    def __init__(
        self,
        where: Callable[[], Address],
        whose: str | Workers,
        *,
        cursor: str | None = None,
        types: Collection[str] = (),
        on_expired: OnExpired = "close",
        subprotocols: Sequence[str] = SUBPROTOCOLS,
        patience_s: float = PATIENCE_S,
        on_loss: Callable[[Loss], None] | None = None,
    ) -> None:
        """Follow after `cursor`; `where` is asked before every connection. See `Following`.

        `on_loss` is told of every connection that is over and will be followed by another.

        Raises:
            CursorMalformed: The cursor is none, nor a word for a place.
        """
        self._where = where
        self._following = following(whose, cursor, types=types, on_expired=on_expired)
        self._journey = Journey(self._following, time.monotonic(), patience_s=patience_s)
        self._subprotocols = [Subprotocol(name) for name in subprotocols]
        self._on_loss = on_loss
        self._connection: ClientConnection | None = None
        self._opening: socket.socket | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._leaving = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def version(self) -> int:
        """Which version of the feed the newest connection speaks."""
        return self._following.version

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self._journey.connections

    @property
    def is_connected(self) -> bool:
        """Whether a runtime speaks to it, or is asked to."""
        return self._connection is not None and self._opening is None

    def close(self) -> None:
        """Give everything back; an iteration that was left in the middle gives its connection back itself."""
        self._wake_reader.close()
        self._wake_writer.close()

    def leave(self) -> None:
        """Make the iteration end, at once. Safe in a signal handler and in any thread."""
        self._leaving = True
        with suppress(OSError):  # Closed meanwhile, or awake already.
            self._wake_writer.send(b"\0")
        self.sever()

    def sever(self) -> None:
        """Cut the TCP connection without a goodbye, as a broken network would."""
        opening, connection = self._opening, self._connection
        if opening is not None:
            _reset(opening)
        elif connection is not None and connection.socket.fileno() >= 0:
            _reset(connection.socket)

    def __iter__(self) -> Generator[Joined | Told, None, None]:
        """Joins and events; who asked for resets iterates over `everything`."""
        with closing(self.everything()) as everything:
            for said in everything:
                if not isinstance(said, Reset):
                    yield said

    def everything(self) -> Generator[Joined | Told | Reset, None, None]:
        """The same, and resets."""
        while not self._over():
            address = self._where()
            self._journey.begin(time.monotonic())
            close_code = yield from self._connection_life(address)
            if self._over():
                return
            wait_s = self._journey.lost(
                time.monotonic(), url=address.url, jitter=jitter(), close_code=close_code
            )
            if not self._over():
                if self._on_loss is not None:
                    self._on_loss(Loss(self._journey.last_loss, wait_s, self.connections))
                select.select([self._wake_reader], [], [], wait_s)

    def _over(self) -> bool:
        return self._leaving or self._following.ended

    def _leaves(self) -> bool:
        return self._leaving  # Set by another thread, or a signal handler.

    def _connection_life(self, address: Address) -> Generator[Joined | Told | Reset, None, int]:
        """One connection's frames; how it was closed."""
        with ExitStack() as stack:
            stack.callback(self._forget)
            try:
                connection = stack.enter_context(self._connect(address))
            except InvalidStatus as refusal:
                self._journey.refused(answer_of(refusal.response))
                return CLOSED_ABNORMALLY
            except (OSError, InvalidHandshake, ConnectionClosed) as fault:  # The last: lost before it asked.
                check_trusted(address, fault)
                self._journey.last_loss = why(fault)
                return CLOSED_ABNORMALLY
            self._journey.opened(connection.subprotocol)
            try:
                yield from self._frames(connection)
            except ConnectionClosed as loss:
                self._journey.last_loss = f"the connection was lost ({loss})"
                return CLOSED_ABNORMALLY if loss.rcvd is None else loss.rcvd.code
        return CLOSED_NORMALLY

    def _frames(self, connection: ClientConnection) -> Iterator[Joined | Told | Reset]:
        """What each frame says; returns at the worker's end, or when the reader leaves."""
        while not self._leaves():
            try:
                frame = connection.recv(SETTLE_TIMEOUT_S if self._following.settled else None)
            except TimeoutError:
                return  # It had ended, and has no more to say.
            for said in self._following.take(frame):
                if isinstance(said, Farewell):
                    self._journey.last_loss = said.message
                    return
                yield said
                if self._leaves():
                    return
            if self._following.ended:
                return

    def _connect(self, address: Address) -> AbstractContextManager[ClientConnection]:
        begun_s = time.monotonic()
        link = opened(address.host, address.port, timeout_s=OPEN_TIMEOUT_S, wake=self._wake_reader)
        with link.dup() as opening:  # TLS takes the link itself away, and may then be waited for.
            self._opening = opening
            try:
                if self._leaving:
                    self.sever()
                return self._upgraded(link, address, OPEN_TIMEOUT_S - (time.monotonic() - begun_s))
            except BaseException:
                link.close()
                raise
            finally:
                self._opening = None

    def _upgraded(
        self, link: socket.socket, address: Address, timeout_s: float
    ) -> AbstractContextManager[ClientConnection]:
        return connect(
            address.websocket_url + self._journey.target,
            sock=link,
            ssl=address.tls(),
            create_connection=cast(type[ClientConnection], self._begun),
            additional_headers=address.headers(),
            subprotocols=self._subprotocols or None,
            compression=None,
            proxy=None,
            max_size=FRAME_BYTES_MAX,
            max_queue=QUEUE_FRAMES_MAX,
            open_timeout=max(0.0, timeout_s),
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
        )

    def _begun(self, *args: Any, **more: Any) -> ClientConnection:
        """A connection before its upgrade."""
        self._connection = TwoThreadedConnection(*args, **more)
        return self._connection

    def _forget(self) -> None:
        self._connection = None


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):  # It was gone already.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
