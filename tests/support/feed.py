"""An observer of the feed by trio-websocket, an implementation that is not ours.

Every wait is bounded by `PATIENCE_S`. A frame that is no event ends a test, unless
the test asked for the diagnostic.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket

from .api import Api
from .patience import PATIENCE_S
from .serving import Served

MESSAGE_BYTES_MAX = 16 << 20
_LINGER_NOTHING = struct.pack("ii", 1, 0)

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

Json = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


class Observer:
    """One connection to a feed, frame by frame. `cursor` is that of the last event."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.cursor: str | None = None

    async def line(self) -> str:
        """The next frame as it came. Raises ConnectionClosed."""
        with trio.fail_after(PATIENCE_S):
            text = await self.connection.get_message()
        assert isinstance(text, str)
        return text

    async def frame(self) -> Json:
        """The next frame. Raises ConnectionClosed."""
        frame = json.loads(await self.line())
        assert isinstance(frame, dict)
        return frame

    async def event(self) -> Json:
        """The envelope of the next frame, which must be an event."""
        frame = await self.frame()
        assert frame["kind"] == "event", frame
        envelope: Json = frame["envelope"]
        self.cursor = envelope["cursor"]
        return envelope

    async def until(self, name: str) -> list[Json]:
        """Envelopes up to the next event of this name, with it."""
        return await self.until_true(lambda envelope: envelope["payload"]["event"] == name)

    async def until_true(self, wanted: Callable[[Json], bool]) -> list[Json]:
        """Envelopes up to the first one that is wanted, with it."""
        taken: list[Json] = []
        while not taken or not wanted(taken[-1]):
            taken.append(await self.event())
        return taken

    async def until_said(self, wanted: str) -> list[Json]:
        """Envelopes up to the piece of stdout in which `wanted` was complete, with it."""
        taken: list[Json] = []
        said = ""
        while wanted not in said:
            taken.append(await self.event())
            said += text_of(taken[-1:])
        return taken

    async def until_text(self, wanted: str) -> str:
        """The text of stdout, up to the piece in which `wanted` was complete."""
        return text_of(await self.until_said(wanted))

    async def diagnostic(self) -> Json:
        """The diagnostic that must come next, and must be the last frame before a close."""
        frame = await self.frame()
        assert frame["kind"] == "diagnostic", frame
        await self.closed()
        diagnostic: Json = frame["diagnostic"]
        assert set(diagnostic) == {"code", "message"}
        return diagnostic

    async def farewell(self) -> tuple[list[Json], Json]:
        """Envelopes up to the diagnostic that ends this feed, and the diagnostic."""
        taken: list[Json] = []
        while True:
            frame = await self.frame()
            if frame["kind"] == "diagnostic":
                await self.closed()
                diagnostic: Json = frame["diagnostic"]
                return taken, diagnostic
            taken.append(frame["envelope"])

    async def closed(self) -> int:
        """The code of the close frame that must come next."""
        try:
            frame = await self.frame()
        except ConnectionClosed:
            reason = self.connection.closed
        else:
            raise AssertionError(f"a frame where a close was due: {frame}")
        assert reason is not None
        return int(reason.code)

    async def cut(self) -> None:
        """Vanish without a word: the socket is reset, no close frame is sent."""
        await self.connection._recv_channel.aclose()  # Else its reader waits for room for ever.
        stream = self.connection._stream
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
        await stream.aclose()


@asynccontextmanager
async def observing(
    served: Served,
    worker_id: str,
    cursor: str | None = None,
    *,
    queue_frames: int = 1,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> AsyncIterator[Observer]:
    """Watch a worker; the upgrade must not be refused."""
    query = "" if cursor is None else f"?cursor={quote(cursor, safe='')}"
    async with websocket(
        served,
        f"/v1/workers/{worker_id}/events/ws{query}",
        headers,
        message_queue_size=queue_frames,
        receive_buffer_size=256 << 10,
    ) as connection:
        yield Observer(connection)


@asynccontextmanager
async def websocket(
    served: Served, target: str, headers: list[tuple[bytes, bytes]] | None = None, **more: Any
) -> AsyncIterator[WebSocketConnection]:
    """A connection, with the token unless there are other headers; `more` is trio-websocket's."""
    authorization = [(b"Authorization", f"Bearer {served.token}".encode())]
    async with open_websocket(
        served.host,
        served.port,
        target,
        use_ssl=False,
        extra_headers=authorization if headers is None else headers,
        max_message_size=MESSAGE_BYTES_MAX,
        **more,
    ) as connection:
        try:
            yield connection
        finally:
            if connection.closed is not None:
                with trio.CancelScope(shield=True):
                    await connection._stream.aclose()  # It leaves that to us when the server closed.


async def refusal(
    served: Served, worker_id: str, *, headers: Mapping[str, str] | None = None, query: str = ""
) -> tuple[int, str]:
    """Status and code of an upgrade that must be refused."""
    path = f"/v1/workers/{worker_id}/events/ws{query}"
    answer = await in_thread(Api(served).request, "GET", path, headers={**UPGRADE, **(headers or {})})
    return answer.status, answer.code


async def journal(served: Served, worker_id: str) -> list[Json]:
    """Every kept event of a worker up to its end, without the snapshot; waits for the end."""
    async with observing(served, worker_id, "earliest", queue_frames=64) as observer:
        return (await observer.until("end"))[1:]


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A call that blocks, such as one of `Api`, away from the loop."""
    return await trio.to_thread.run_sync(partial(call, *args, **kwargs), abandon_on_cancel=True)


def names(envelopes: list[Json]) -> list[str]:
    """What the events are called."""
    return [envelope["payload"]["event"] for envelope in envelopes]


def data_of(envelopes: list[Json], name: str) -> list[Json]:
    """The data of every event of this name."""
    return [envelope["payload"]["data"] for envelope in envelopes if envelope["payload"]["event"] == name]


def text_of(envelopes: list[Json]) -> str:
    """All of stdout that was text."""
    return "".join(data["text"] for data in data_of(envelopes, "text_delta"))
