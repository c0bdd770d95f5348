"""Always reads what comes from an observer, and interrupts the sender when it matters.

A socket whose inbound side nobody reads never tells of a close. So one task
listens while another one sends; what ends the conversation is told to both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum

from watchglass.protocol.errors import RuntimeFault

from .asgi import Message, Receive

OnMessage = Callable[[Message], Awaitable[bool]]
"""Takes a message of the observer; whether it was one that it may send."""

DISCONNECTS = frozenset({"websocket.disconnect", "http.disconnect"})


class Heard(StrEnum):
    """What ends a feed from the observer's side."""

    CLOSED = "closed"
    SPOKE = "spoke"
    BROKE_PROTOCOL = "broke_protocol"
    STALLED = "stalled"


class Ear:
    """The inbound side of one conversation."""

    def __init__(self, receive: Receive, on_message: OnMessage | None = None) -> None:
        """Without `on_message` the observer may say nothing at all."""
        self._receive = receive
        self._on_message = on_message
        self._task: asyncio.Task[None] | None = None
        self._leash: asyncio.Timeout | None = None
        self._heard: Heard | RuntimeFault | None = None

    def observer_spoke(self) -> None:
        """Some data came that may not come."""
        self._hear(Heard.SPOKE)

    def observer_broke_protocol(self) -> None:
        """What came is no WebSocket frame that a client may send."""
        self._hear(Heard.BROKE_PROTOCOL)

    def observer_stalled(self) -> None:
        """It takes no byte, and its connection will be dropped."""
        self._hear(Heard.STALLED)

    def observer_lost_right(self, fault: RuntimeFault) -> None:
        """Its token may no longer do this, for this reason; heard also before anything is said to it."""
        if self._leash is not None:
            self._hear(fault)
        elif self._heard is None:
            self._heard = fault

    async def speak_until_heard(self, speak: Callable[[], Awaitable[None]]) -> Heard | RuntimeFault | None:
        """Run `speak` until the observer does something; what that is (None: `speak` came to its end).

        A fault: it may no longer watch.

        Raises what `speak` raises.
        """
        try:
            heard_before = None if self._heard is None else asyncio.get_running_loop().time()
            async with asyncio.timeout_at(heard_before) as self._leash:
                self._task = asyncio.create_task(self._listen(), name="feed ear")
                await speak()
        except TimeoutError:
            if self._heard is None:
                raise
            return self._heard
        finally:
            self._leash = None
        return None

    async def wait_closed(self) -> None:
        """Return when the observer has closed its side; at once in `on_message`, for who hears it then?"""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] in DISCONNECTS:
                self._hear(Heard.CLOSED)
                return
            if self._on_message is None or not await self._on_message(message):
                self._hear(Heard.SPOKE)

    def _hear(self, heard: Heard | RuntimeFault) -> None:
        if self._heard is not None or self._leash is None:
            return
        self._heard = heard
        if not self._leash.expired():
            self._leash.reschedule(asyncio.get_running_loop().time())
