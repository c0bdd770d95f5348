"""The client for asyncio: httpx for requests, websockets for feeds.

async with watchglass.client.connect() as wg:
    worker = await wg.create_worker(program="date")
    async for event in wg.follow(worker.worker_id):
        print(event.name, event.data)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from .address import Address
from .async_client import AsyncClient, connected
from .finding import Choice
from .journey import (
    CLOSE_TIMEOUT_S,
    FRAME_BYTES_MAX,
    OPEN_TIMEOUT_S,
    QUEUE_FRAMES_MAX,
    SUBPROTOCOLS,
    check_trusted,
    why,
)
from .sockets import SocketLost, UpgradeRefused
from .upgrade import answer_of


@asynccontextmanager
async def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    token_file: Path | None = None,
    runtime_id: str | None = None,
    cacert: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[AsyncClient]:
    """A client of a runtime, in asyncio; after the block nothing of it is left.

    Without a `url`, the newest runtime of this user on this machine, or the one
    with this id; `cacert` is a file of authorities to trust, and `environ` is in
    place of `os.environ`. Nothing is asked yet.

    Raises:
        NoRuntime, NoToken, NoTrust, ValueError: See `watchglass.client.finding`.
    """
    choice = Choice(url, token_file, runtime_id, token, cacert)
    async with connected(choice, environ, _Asyncio()) as client:
        yield client


class _Asyncio:
    """The loop that runs now."""

    async def open(
        self,
        address: Address,
        target: str,
        subprotocols: Sequence[str] = SUBPROTOCOLS,
        *,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> _Socket:
        try:
            connection = await connect_websocket(
                address.websocket_url + target,
                ssl=address.tls(),
                additional_headers=address.headers(),
                subprotocols=[Subprotocol(name) for name in subprotocols],
                compression=None,
                proxy=None,
                max_size=frame_bytes_max,
                max_queue=QUEUE_FRAMES_MAX,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,  # The reader asks, when it waits: a slow one is no dead server.
            )
        except InvalidStatus as refusal:
            raise UpgradeRefused(answer_of(refusal.response)) from None
        except (OSError, InvalidHandshake, ConnectionClosed) as fault:  # The last: lost before it asked.
            check_trusted(address, fault)
            raise SocketLost(why(fault)) from fault
        return _Socket(connection)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def event(self) -> asyncio.Event:
        return asyncio.Event()

    @asynccontextmanager
    async def background(self, run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
        task = asyncio.create_task(run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()


class _Socket:
    """A connection of `websockets`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._pong: asyncio.Future[float] | None = None
        self.subprotocol: str | None = connection.subprotocol

    @property
    def pong_due(self) -> bool:
        return self._pong is not None and not self._pong.done()

    async def receive(self, timeout_s: float) -> str | bytes | None:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connection.recv()
        except TimeoutError:
            return None
        except ConnectionClosed as loss:
            raise SocketLost(str(loss), None if loss.rcvd is None else loss.rcvd.code) from None

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except ConnectionClosed as loss:
            raise SocketLost(str(loss)) from None

    async def ping(self) -> None:
        try:
            self._pong = asyncio.ensure_future(await self._connection.ping())
        except ConnectionClosed as loss:
            raise SocketLost(str(loss)) from None

    async def aclose(self) -> None:
        try:
            await self._connection.close()
        finally:
            self._connection.transport.abort()

    def abandon(self) -> None:
        self._loop.call_soon_threadsafe(self._connection.transport.abort)
