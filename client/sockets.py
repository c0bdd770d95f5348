"""What a reader needs of a WebSocket, whatever loop it runs on; `aio.py` and `trio.py` give it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from .address import Address
from .call import Answer
from .journey import FRAME_BYTES_MAX, PING_INTERVAL_S, PING_TIMEOUT_S, SUBPROTOCOLS


class UpgradeRefused(Exception):
    """The runtime answered, but with a refusal."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


class SocketLost(Exception):
    """There is no connection, or none any more. `code` is that of the close frame, if one came."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class LoopEvent(Protocol):
    """Something that happens once."""

    def set(self) -> object:
        """It has happened."""

    async def wait(self) -> object:
        """Return when it has."""


class FeedSocket(Protocol):
    """One open connection. It reads no further than its few buffered frames while nobody receives."""

    @property
    def subprotocol(self) -> str | None:
        """What the server chose."""

    @property
    def pong_due(self) -> bool:
        """Whether a ping is not answered yet."""

    async def receive(self, timeout_s: float) -> str | bytes | None:
        """The next message; None when none came in time. Raises SocketLost. Cancelling loses nothing."""

    async def send(self, text: str) -> None:
        """A message. Raises SocketLost."""

    async def ping(self) -> None:
        """Ask for a sign of life. Raises SocketLost."""

    async def aclose(self) -> None:
        """Say goodbye, and be gone in a second at most."""

    def abandon(self) -> None:
        """Be gone without a word. Does not wait; may be called in any thread."""


async def next_frame(socket: FeedSocket) -> str | bytes:
    """The next message, however long it takes a server that is alive. Raises SocketLost."""
    while True:
        frame = await socket.receive(PING_INTERVAL_S)
        if frame is None:
            await socket.ping()
            frame = await socket.receive(PING_TIMEOUT_S)
        if frame is not None:
            return frame
        if socket.pong_due:
            raise SocketLost("a ping was not answered")


class Loop(Protocol):
    """Where a client runs."""

    async def open(
        self,
        address: Address,
        target: str,
        subprotocols: Sequence[str] = SUBPROTOCOLS,
        *,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> FeedSocket:
        """A connection to a feed. Raises UpgradeRefused, SocketLost."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def event(self) -> LoopEvent:
        """Something that has not happened yet."""

    def background(self, run: Callable[[], Coroutine[Any, Any, None]]) -> AbstractAsyncContextManager[None]:
        """Run it beside the block, and no longer."""
