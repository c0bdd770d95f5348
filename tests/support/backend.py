"""A backend that drives a real server over one session, by trio-websocket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from .feed import websocket
from .patience import PATIENCE_S
from .serving import Served

Json = dict[str, Any]


class Backend:
    """One session; every wait is bounded."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection

    async def say(self, **frame: Any) -> None:
        await self.connection.send_message(json.dumps(frame))

    async def frame(self) -> Json:
        with trio.fail_after(PATIENCE_S):
            frame: Json = json.loads(await self.connection.get_message())
        return frame

    async def frames(self) -> AsyncIterator[Json]:
        """All until it is closed, or cut."""
        with suppress(ConnectionClosed):
            while True:
                yield await self.frame()

    async def ask(self, method: str, /, **params: Any) -> Json:
        """The answer; it must be the next frame."""
        await self.say(kind="request", id=method, method=method, params=params)
        answer = await self.frame()
        assert (answer["kind"], answer["id"]) == ("response", method)
        return answer


@asynccontextmanager
async def session(served: Served) -> AsyncIterator[Backend]:
    async with websocket(served, "/v1/session/ws", subprotocols=["watchglass.session.v1"]) as connection:
        yield Backend(connection)
