"""Readers of the feed over each transport, that come back when they are cut.

A reading checks on every connection what the feed owes it: `hello` first, the
chain of `prev`, one `sync`, replay before live; of version 1 the snapshot at the
asked place. The clients are not ours.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from watchglass.protocol.feed_v2 import SUBPROTOCOL
from watchglass.protocol.session import ROUTE
from watchglass.protocol.session import SUBPROTOCOL as SESSION_SUBPROTOCOL

from .inprocess import BEARER
from .patience import PATIENT_SOCKET

Json = dict[str, Any]


class Diagnosed(Exception):
    """The feed said why there is no more of it: a close code or a status, the code of it, the facts."""

    def __init__(self, closed: int | None, code: str, message: str, facts: Json) -> None:
        super().__init__(f"{closed} {code}: {message}")
        self.closed = closed
        self.code = code.removeprefix("runtime.")
        self.message = message
        self.facts = facts


CUT = (OSError, EOFError, ConnectionClosed, InvalidHandshake, InvalidMessage, asyncio.IncompleteReadError)
"""How a connection looks that was cut."""


@dataclass(slots=True)
class Reading:
    """What one reader got, over any number of connections."""

    worker_id: str
    cursor: str = "earliest"
    query: str = ""
    envelopes: list[Json] = field(default_factory=list)
    resets: list[Json] = field(default_factory=list)
    ended: bool = False
    over: bool = False
    """Whether the test has seen enough."""
    connections: int = 0

    @property
    def parameters(self) -> str:
        """The query to ask with now."""
        return f"?cursor={quote(self.cursor, safe='')}{self.query}"

    @property
    def path(self) -> str:
        """Where the events are; `/ws` behind it is the socket."""
        return f"/v1/workers/{self.worker_id}/events"

    def take(self, envelope: Json) -> None:
        """The next event."""
        assert envelope["worker_id"] == self.worker_id
        self._keep(envelope)

    def _keep(self, envelope: Json) -> None:
        assert not self.envelopes or envelope["cursor"] > self.envelopes[-1]["cursor"]
        self.envelopes.append(envelope)
        self.cursor = envelope["cursor"]


@dataclass(slots=True)
class AllReading(Reading):
    """The same of a whole runtime, whose feed never ends: up to what a test takes for the last event."""

    worker_id: str = "runtime"
    is_last: Callable[[Json], bool] = lambda _envelope: False

    @property
    def path(self) -> str:
        """Where the events are."""
        return "/v1/events"

    def take(self, envelope: Json) -> None:
        """The next event, whoever's it is."""
        self._keep(envelope)
        self.ended = self.over = self.is_last(envelope)


class Chain:
    """What a connection was sent: each `prev` names the event before it."""

    def __init__(self, resumed_from: str) -> None:
        self._last = resumed_from

    def follow(self, envelope: Json) -> None:
        """One more event."""
        assert envelope["prev"] == self._last, envelope
        self._last = envelope["cursor"]


def feed_v2(url: str, worker_id: str, query: str = "", **ways: Any) -> connect:
    """A WebSocket of version 2: `async with feed_v2(url, "w") as feed`. `ways`: as of `connect`."""
    return feed_at(url, f"/v1/workers/{worker_id}/events/ws{query}", **ways)


def feed_at(url: str, target: str, subprotocol: str = SUBPROTOCOL, **ways: Any) -> connect:
    """The same, of any path."""
    if url.startswith("https:"):
        ways = {"ssl": _anybody(), **ways}
    return connect(
        f"{url.replace('http', 'ws', 1)}{target}",
        additional_headers=BEARER,
        subprotocols=[Subprotocol(subprotocol)],
        proxy=None,
        max_size=16 << 20,
        compression=None,
        **PATIENT_SOCKET | ways,
    )


def _anybody() -> ssl.SSLContext:
    """TLS with whoever answers: whom to trust is not the feed's business."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def frames_of(feed: ClientConnection) -> AsyncIterator[Json]:
    """Its frames; ends with the server's close, raises when it is cut."""
    try:
        while True:
            frame = orjson.loads(await feed.recv())
            assert isinstance(frame, dict)
            yield frame
    except ConnectionClosed:
        if feed.close_code in {None, 1006}:
            raise


async def read_socket(url: str, reading: Reading) -> None:
    """One connection of version 2, to its end. Raises Diagnosed."""
    async with feed_at(url, f"{reading.path}/ws{reading.parameters}") as feed:
        last = await _read_frames(frames_of(feed), reading)
        if last is not None:
            await closed_by(feed)
            raise Diagnosed(feed.close_code, last["code"], last["message"], last["details"])


async def closed_by(feed: ClientConnection) -> None:
    """Return when the server has closed, after its last frame. Raises ConnectionClosed when it is cut."""
    async for frame in frames_of(feed):
        raise AssertionError(f"a frame where a close was due: {frame}")


async def read_session(url: str, reading: Reading) -> None:
    """The same as a subscription of a session, which goes on when the feed is over. Raises Diagnosed."""
    async with feed_at(url, ROUTE, SESSION_SUBPROTOCOL) as feed:
        is_of_all = isinstance(reading, AllReading)
        whose: Json = {"workers": []} if is_of_all else {"worker_id": reading.worker_id}
        asked = whose | dict(parse_qsl(reading.parameters[1:]))
        await feed.send(orjson.dumps({"kind": "subscribe", "id": "s", **asked}).decode())
        frames = frames_of(feed)
        answer = await anext(frames)
        if answer["status"] != 200:
            error = answer["error"]
            raise Diagnosed(answer["status"], error["code"], error["message"], answer)
        last = await _read_frames(frames, reading)
        if last is not None:
            raise Diagnosed(last.get("close"), last["code"], last["message"], last.get("details", {}))


async def _read_frames(frames: AsyncIterator[Json], reading: Reading) -> Json | None:
    """Up to the end, or the diagnostic that is given back."""
    chain: Chain | None = None
    synced = False
    async for frame in frames:
        kind = frame["kind"]
        if kind == "diagnostic":
            return frame
        if chain is None:
            assert kind == "hello"
            chain = Chain(frame["resumed_from"])
            as_of = frame["as_of"]
        elif kind == "events":
            assert frame["replay"] is not synced
            for envelope in frame["envelopes"]:
                chain.follow(envelope)
                assert (envelope["cursor"] <= as_of) is frame["replay"]
                reading.take(envelope)
                if reading.over:
                    return None
        elif kind in {"sync", "bookmark", "end"}:
            assert kind != "sync" or not synced
            synced = synced or kind == "sync"
            assert frame["cursor"] >= reading.cursor or not reading.envelopes
            reading.cursor = frame["cursor"]
            reading.ended = kind == "end"
            if reading.ended:
                return None
        elif kind == "reset":
            reading.resets.append(frame)
            chain = Chain(frame["head"])
        else:
            assert kind == "snapshot", frame
    return None


async def read_socket_v1(url: str, reading: Reading) -> None:
    """One connection of version 1, up to the worker's end. Raises Diagnosed."""
    async with connect(
        f"{url.replace('http', 'ws', 1)}/v1/workers/{reading.worker_id}/events/ws{reading.parameters}",
        additional_headers=BEARER,
        proxy=None,
        max_size=16 << 20,
        compression=None,
        **PATIENT_SOCKET,
    ) as feed:
        first = True
        async for frame in frames_of(feed):
            if frame["kind"] == "diagnostic":
                await closed_by(feed)
                told = frame["diagnostic"]
                raise Diagnosed(feed.close_code, told["code"], told["message"], {})
            envelope = frame["envelope"]
            assert (envelope["payload"]["event"] == "snapshot") is first
            if first:
                assert not reading.envelopes or envelope["cursor"] == reading.cursor
                first = False
                continue
            reading.take(envelope)
            if envelope["payload"]["event"] == "end":
                reading.ended = True
                return


async def read_stream(url: str, reading: Reading) -> None:
    """One stream of server-sent events, to its end. Raises Diagnosed."""
    headers = {"Accept": "text/event-stream"}
    if reading.envelopes:
        headers["Last-Event-ID"] = reading.cursor
    chain: Chain | None = None
    async for message in messages(url, f"{reading.path}{reading.parameters}", headers):
        data = orjson.loads(message["data"]) if "data" in message else None
        if chain is None:
            assert message["event"] == "feed.hello"
            chain = Chain(message["id"])
        elif data is not None and "payload" in data:
            assert message["id"] == data["cursor"]
            chain.follow(data)
            reading.take(data)
            if reading.over:
                return
        elif message.get("event") == "feed.reset":
            assert data is not None
            reading.resets.append(data)
            chain = Chain(data["head"])
        elif message.get("event") == "feed.diagnostic":
            assert data is not None
            reading.cursor = message.get("id", reading.cursor)
            raise Diagnosed(None, data["code"], data["message"], data["details"])
        reading.ended = message.get("event") == "feed.end"
        reading.cursor = message.get("id", reading.cursor)
    reading.ended = reading.ended or chain is None  # No message at all: everything was told before.


async def read_polling(url: str, reading: Reading) -> None:
    """One long poll, and the next, to the end. Raises Diagnosed."""
    while not reading.ended:
        status, content = await get(url, f"{reading.path}{reading.parameters}&wait_s=5&limit=40")
        answer = answered(status, content)
        chain = Chain(answer["events"][0]["prev"]) if answer["events"] else None
        for envelope in answer["events"]:
            assert chain is not None
            chain.follow(envelope)
            reading.take(envelope)
            if reading.over:
                return
        reading.cursor = answer["next"]
        reading.ended = answer["ended"]


TRANSPORTS: dict[str, Callable[[str, Reading], Awaitable[None]]] = {
    "websocket": read_socket,
    "session": read_session,
    "sse": read_stream,
    "long_poll": read_polling,
}

"""Those of version 2, which know a filter."""
EVERY_TRANSPORT = {"websocket_v1": read_socket_v1, **TRANSPORTS}


async def follow(transport: str, url: str, reading: Reading, *, retry: bool = True) -> Reading:
    """Read to the end, coming back after every cut."""
    while not reading.ended:
        reading.connections += 1
        try:
            await EVERY_TRANSPORT[transport](url, reading)
        except CUT:
            if not retry:
                raise
    return reading


def answered(status: int, content: bytes) -> Json:
    """The body of an answer that must be one. Raises Diagnosed."""
    body: Json = orjson.loads(content)
    if status != 200:
        error = body.pop("error")
        raise Diagnosed(status, error["code"], error["message"], body)
    return body


async def messages(url: str, path: str, headers: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """The messages of a stream, as the standard reads them; those without data too. None of 204."""
    async with asked(url, path, headers) as answer:
        if answer.status == 204:
            return
        if answer.status != 200:
            answered(answer.status, await answer.body())
        text = b""
        async for piece in answer.chunks():
            text += piece
            while b"\n\n" in text:
                block, _, text = text.partition(b"\n\n")
                fields = [line.partition(": ") for line in block.decode().split("\n")]
                yield {name: value for name, _, value in fields if name}


async def get(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """The status and the body of an answer of known length. Raises IncompleteReadError when it is cut."""
    async with asked(url, path, headers or {}) as answer:
        return answer.status, await answer.body()


@dataclass(frozen=True, slots=True)
class Asked:
    """The head of an answer, and what follows it."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader

    async def body(self) -> bytes:
        """A body of known length."""
        return await self.reader.readexactly(int(self.headers.get("content-length", "0")))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a chunked body."""
        while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]


@asynccontextmanager
async def asked(url: str, path: str, headers: dict[str, str]) -> AsyncIterator[Asked]:
    """The answer to a GET, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    try:
        sent = {"Host": "127.0.0.1", **BEARER, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        await writer.drain()
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").strip().split("\r\n")
        told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        yield Asked(int(first.split()[1]), told, reader)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
