"""The client for trio: httpx for requests, trio's own streams under websockets' protocol for feeds.

    async with watchglass.client.trio.connect() as wg:
        worker = await wg.create_worker(program="date")
        async for event in wg.follow(worker.worker_id):
            print(event.name, event.data)

No task stands behind a feed: a socket is read when its reader asks for more. So
a reader needs no nursery, and whoever leaves it has left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from .address import Address
from .async_client import AsyncClient, connected
from .finding import Choice
from .journey import CLOSE_TIMEOUT_S, FRAME_BYTES_MAX, OPEN_TIMEOUT_S, SUBPROTOCOLS, check_trusted, why
from .sockets import SocketLost, UpgradeRefused
from .upgrade import answer_of

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_READ_BYTES: Final = 64 << 10


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
    """A client of a runtime, in trio; the same as `watchglass.client.connect` in asyncio."""
    choice = Choice(url, token_file, runtime_id, token, cacert)
    async with connected(choice, environ, _Trio()) as client:
        yield client


class _Trio:
    """The run that goes on now."""

    async def open(
        self,
        address: Address,
        target: str,
        subprotocols: Sequence[str] = SUBPROTOCOLS,
        *,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> _Socket:
        try:
            with trio.fail_after(OPEN_TIMEOUT_S):
                stream = await _stream(address)
                try:
                    return await _opened(stream, address, target, subprotocols, frame_bytes_max)
                except BaseException:
                    await trio.aclose_forcefully(stream)
                    raise
        except InvalidStatus as refusal:
            raise UpgradeRefused(answer_of(refusal.response)) from None
        except trio.TooSlowError:
            raise SocketLost("no answer in time") from None
        except (OSError, InvalidHandshake, trio.BrokenResourceError) as fault:
            check_trusted(address, fault)
            raise SocketLost(why(fault)) from fault

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def event(self) -> trio.Event:
        return trio.Event()

    @asynccontextmanager
    async def background(self, run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None  # What the block raised, as it was.


async def _stream(address: Address) -> _Stream:
    context = address.tls()
    if context is None:
        return await trio.open_tcp_stream(address.host, address.port)
    stream = await trio.open_ssl_over_tcp_stream(address.host, address.port, ssl_context=context)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _opened(
    stream: _Stream, address: Address, target: str, subprotocols: Sequence[str], frame_bytes_max: int
) -> _Socket:
    """The upgrade. Raises InvalidHandshake, SocketLost."""
    protocol = ClientProtocol(
        parse_uri(address.websocket_url + target),
        subprotocols=[Subprotocol(name) for name in subprotocols],
        max_size=frame_bytes_max,
    )
    request = protocol.connect()
    request.headers.update(address.headers())
    protocol.send_request(request)
    socket = _Socket(stream, protocol)
    await socket.wait_upgraded()
    return socket


class _Socket:
    """A connection of `websockets`' protocol on a stream of trio's."""

    def __init__(self, stream: _Stream, protocol: ClientProtocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._messages: deque[bytes] = deque()
        self._pieces: list[bytes] = []
        self._eof = False
        self._sending = trio.Lock()
        self._token = trio.lowlevel.current_trio_token()
        self._wire = stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
        self.pong_due = False

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol

    async def wait_upgraded(self) -> None:
        """Return when it is a WebSocket. Raises InvalidHandshake, SocketLost."""
        await self._flush()
        while self._protocol.state is State.CONNECTING:
            await self._digest(await self._read())
            if self._protocol.handshake_exc is not None:
                raise self._protocol.handshake_exc
        self._take_all()

    async def receive(self, timeout_s: float) -> bytes | None:
        deadline = trio.current_time() + timeout_s
        await trio.lowlevel.checkpoint()
        while not self._messages:
            self._check_open()
            with trio.move_on_at(deadline) as scope:
                data = await self._read()
            if scope.cancelled_caught:
                return None
            await self._digest(data)
            self._take_all()
        return self._messages.popleft()

    async def send(self, text: str) -> None:
        self._check_open()
        self._protocol.send_text(text.encode())
        with trio.CancelScope(shield=True):  # Half a frame would break the connection for all who share it.
            await self._flush()

    async def ping(self) -> None:
        self._check_open()
        self.pong_due = True
        self._protocol.send_ping(b"")
        await self._flush()

    async def aclose(self) -> None:
        try:
            with trio.move_on_after(CLOSE_TIMEOUT_S), suppress(SocketLost):
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(1000)
                    await self._flush()
                while not self._eof:
                    await self._digest(await self._read())
        finally:
            await trio.aclose_forcefully(self._stream)

    def abandon(self) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._wire.socket.close)

    def _check_open(self) -> None:
        closed = self._protocol.close_rcvd
        if closed is not None:
            raise SocketLost(f"closed with {closed}", closed.code)
        if self._eof or self._protocol.state is not State.OPEN:
            fault = self._protocol.parser_exc
            raise SocketLost("the connection was cut" if fault is None else str(fault))

    async def _read(self) -> bytes:
        """What comes next; nothing at the end. Cancelling loses nothing."""
        try:
            return bytes(await self._stream.receive_some(_READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def _digest(self, data: bytes) -> None:
        """Have the protocol read it, and answer."""
        if data:
            self._protocol.receive_data(data)
        elif not self._eof:
            self._eof = True
            self._protocol.receive_eof()
        await self._flush()

    async def _flush(self) -> None:
        try:
            async with self._sending:  # One at a time; who waited may find that all is sent.
                said = b"".join(self._protocol.data_to_send())
                if not said or self._eof:
                    return
                with trio.fail_after(OPEN_TIMEOUT_S):
                    await self._stream.send_all(said)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self._eof = True
            raise SocketLost("the connection was cut") from None

    def _take_all(self) -> None:
        for event in self._protocol.events_received():
            if not isinstance(event, Frame) or event.opcode is Opcode.CLOSE:
                continue
            if event.opcode is Opcode.PONG:
                self.pong_due = False
            elif event.opcode is not Opcode.PING:  # The protocol answers those.
                self._pieces.append(bytes(event.data))
                if event.fin:
                    self._messages.append(b"".join(self._pieces))
                    self._pieces.clear()
