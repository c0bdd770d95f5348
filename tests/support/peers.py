"""A peer of a session that knows nothing of our client: frames of JSON over `websockets`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from .inprocess import BEARER
from .patience import PATIENT_SOCKET
from .tasks import soon

Json = dict[str, Any]


class Peer:
    """One session; frames that nobody waited for stay in `told`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[Json] = []

    async def say(self, **frame: Any) -> None:
        """One frame."""
        await self.socket.send(orjson.dumps(frame).decode())

    async def frame(self) -> Json:
        """The next frame. Raises ConnectionClosed."""
        frame: Json = orjson.loads(await soon(self.socket.recv()))
        self.told.append(frame)
        return frame

    async def answer(self, name: object) -> Json:
        """The response to an id."""
        while True:
            frame = await self.frame()
            if frame["kind"] == "response" and frame["id"] == name:
                return frame

    async def ask(self, method: str, /, **params: Any) -> Json:
        """The response to a request."""
        await self.say(kind="request", id=method, method=method, params=params)
        return await self.answer(method)

    async def until(self, kind: str, subscription: object) -> list[Json]:
        """The frames of a subscription, up to the next one of this kind."""
        told: list[Json] = []
        while not told or told[-1]["kind"] != kind:
            frame = await self.frame()
            if frame.get("subscription") == subscription:
                told.append(frame)
        return told

    async def last_words(self) -> tuple[Json, int | None, str | None]:
        """The last frame before the server closes, and the close's code and reason."""
        try:
            while True:
                await self.frame()
        except ConnectionClosed:
            return self.told[-1], self.socket.close_code, self.socket.close_reason


def session(
    url: str,
    headers: Mapping[str, str] = BEARER,
    subprotocols: tuple[str, ...] = ("watchglass.session.v1",),
) -> connect:
    """A WebSocket to `/v1/session/ws`."""
    return connect(
        f"{url.replace('http', 'ws', 1)}/v1/session/ws",
        additional_headers=headers,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        proxy=None,
        max_size=16 << 20,
        compression=None,
        **PATIENT_SOCKET,
        close_timeout=1,  # A peer that is behind has no room to hear the close that follows.
    )


@asynccontextmanager
async def peer(url: str) -> AsyncIterator[Peer]:
    """A peer, while the block runs."""
    async with session(url) as socket:
        yield Peer(socket)


def names(frames: list[Json]) -> list[str]:
    """The texts of the events in these frames."""
    return [
        envelope["payload"]["data"].get("text", envelope["payload"]["event"])
        for frame in frames
        if frame["kind"] == "events"
        for envelope in frame["envelopes"]
    ]
