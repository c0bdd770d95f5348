"""A server that dies again and again, and those who come back to it: observers, and drivers of input.

Everybody asks `Whereabouts` where the server is now; it is nowhere between two
of its lives. Nobody is told that it is about to die.
"""

from __future__ import annotations

import http.client
from random import Random
from typing import Any, cast

import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from watchglass.protocol.follow import EARLIEST, Following
from watchglass.protocol.said import Joined, Told

from .api import Api
from .chatter import Chatterer, Heard
from .feed import MESSAGE_BYTES_MAX, Observer, in_thread
from .patience import PATIENCE_S
from .serving import Place, Served

DYING_AT_START = 0.4
"""The share of lives that end before the server listens, or just then."""
LIFE_S_MAX = 0.7
"""How long the others serve, at most."""


class Whereabouts:
    """Where the server is, for everybody who looks for it."""

    def __init__(self) -> None:
        self._served: Served | None = None
        self._moved = trio.Event()

    def tell(self, served: Served | None) -> None:
        """It serves here now, or nowhere."""
        self._served = served
        self._moved.set()
        self._moved = trio.Event()

    async def here(self) -> Served:
        """Where it serves, once it does."""
        with trio.fail_after(2 * PATIENCE_S):
            while self._served is None:
                await self._moved.wait()
        return self._served

    async def moved(self, timeout_s: float) -> None:
        """Return when it is somewhere else, or after this time."""
        with trio.move_on_after(timeout_s):
            await self._moved.wait()


async def die_often(place: Place, where: Whereabouts, kills: int, rng: Random, *flags: str) -> None:
    """Let the server live and be killed so many times.

    Some are killed at any instant of their start, in which they recover; the
    others at any instant of their service.
    """
    start_s = 1.0
    for _ in range(kills):
        launch = place.launch(*flags)
        began = trio.current_time()
        try:
            if rng.random() < DYING_AT_START:
                # What comes before half of a start is the import of modules.
                with trio.move_on_after(start_s * rng.uniform(0.5, 1.1)):
                    where.tell(await in_thread(launch.listening))
                    await trio.sleep_forever()
            else:
                where.tell(await in_thread(launch.listening))
                start_s = trio.current_time() - began
                await trio.sleep(rng.uniform(0, LIFE_S_MAX))
        finally:
            launch.kill()
            where.tell(None)


async def follow(where: Whereabouts, heard: Heard, queue_frames: int = 64) -> None:
    """Observe a talker to its end, from the beginning of its journal.

    Each connection is asked for with the last cursor. `Following` judges the
    frames as the package's own client does, `heard` judges the words.
    """
    following = Following(heard.name, EARLIEST)
    while not following.ended:
        served = await where.here()
        began = trio.current_time()
        try:
            async with (
                await trio.open_tcp_stream(served.host, served.port) as stream,
                trio.open_nursery() as nursery,
            ):
                path = f"/v1/workers/{heard.name}/events/ws?cursor={following.cursor}"
                observer = await _joined(nursery, stream, served, path, queue_frames)
                following.opened()
                await _listen(observer, following, heard)
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, OSError):
            wait_s = following.lost(jitter=0.5, lasted_s=trio.current_time() - began)
            await where.moved(wait_s)


async def _joined(
    nursery: trio.Nursery, stream: trio.SocketStream, served: Served, path: str, queue_frames: int
) -> Observer:
    """A connection that dies with its server, at any moment of its opening too."""
    mortal = _Mortal(stream)
    connection = await wrap_client_stream(
        nursery,
        cast(Any, mortal),
        f"{served.host}:{served.port}",
        path,
        extra_headers=[(b"Authorization", f"Bearer {served.token}".encode())],
        message_queue_size=queue_frames,
        max_message_size=MESSAGE_BYTES_MAX,
        receive_buffer_size=256 << 10,
    )
    mortal.is_open = True
    return Observer(connection)


async def _listen(observer: Observer, following: Following, heard: Heard) -> None:
    before = following.cursor
    while not following.ended:
        line = await observer.line()
        [said] = following.take(line)
        assert isinstance(said, Joined | Told), said  # A killed server says no farewell.
        if isinstance(said, Told):
            heard.take(said.envelope, line.encode())
        elif before != EARLIEST:
            assert said.cursor == before, "a snapshot stands where its observer stood"


class _Mortal:
    """A stream that says when its peer dies before the upgrade, which trio-websocket would wait out."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.aclose = stream.aclose
        self.is_open = False

    async def send_all(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            if self.is_open:
                raise
            raise ConnectionResetError("the server died before it was asked") from None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            received = bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError:
            if self.is_open:
                raise
            received = b""
        if not received and not self.is_open:
            raise ConnectionResetError("the server died before it answered")
        return received


async def drive(
    where: Whereabouts, talker: Chatterer, finished: trio.Event, rng: Random, pace_s: float
) -> None:
    """Send input without an end, until `finished`; what got no answer is given up and the next is sent.

    Then one input that makes the worker leave. The server must not die from then on.
    """
    number = 0
    while not finished.is_set():
        if not await send(await where.here(), talker, f"{talker.name}.{number}"):
            await where.moved(pace_s)
        number += 1
        await trio.sleep(rng.uniform(0, pace_s))
    assert await send(await where.here(), talker, f"leave {number}")


async def send(served: Served, talker: Chatterer, content: str) -> bool:
    """Whether an input was answered; an answer must be an ack."""
    talker.attempted.append(content)
    path = f"/v1/workers/{talker.name}/input"
    try:
        answer = await in_thread(Api(served).request, "POST", path, {"content": content})
    except (OSError, http.client.HTTPException):
        return False
    assert answer.status == 200, answer
    talker.acknowledged[content] = answer.json["ack"]["event_id"]
    return True
