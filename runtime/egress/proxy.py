"""The proxy of one worker: accepts in its network, connects in ours, and nothing else is between them.

    worker ──▶ 127.0.0.1:3128 inside ──▶ head ──▶ list ──▶ name ──▶ addresses ──▶ tunnel, or one exchange

One request a connection; a tunnel is one too. Whatever the worker sends or leaves out
costs a bounded amount: of connections at once, its own and with all others, of bytes
of a head, of seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import h11

from watchglass.protocol.places import Address, Place

from .forwarding import BadGateway, Exchange
from .gateway import Gateway
from .request import HEAD_BYTES_MAX, Asked, BadRequest, asked_by
from .routing import Allowlist, Reason, Refused, route
from .stream import Patience, Stream
from .tally import Denial, Tally
from .tunnel import tunnel

_ROOM_PAUSE_S = 0.25
"""Between two attempts to accept, when the kernel has no descriptor or no memory for one more."""

_DRAINED_MAX = 16
"""Reads of what follows a request that was answered by us; each takes at most `stream.RECEIVE_BYTES`."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressLimits:
    """What one worker may hold of the proxy. Times are seconds.

    `head_s` bounds the whole head, from the connection on; `connect_s` the name and
    the connection together; `idle_s` is how long a connection may stand still.
    """

    connections_max: int = 64
    head_s: float = 10.0
    connect_s: float = 20.0
    idle_s: float = 900.0


class EgressProxy:
    """Serves one listener until it is cancelled; `on_news` says that `tally` has something to tell."""

    def __init__(
        self,
        listener: socket.socket,
        allowlist: Allowlist,
        gateway: Gateway,
        *,
        on_news: Callable[[], None],
        limits: EgressLimits = EgressLimits(),
    ) -> None:
        """`listener` stays the caller's to close, after `serve`; it must not block."""
        self.tally = Tally()
        self._listener = listener
        self._allowlist = allowlist
        self._gateway = gateway
        self._on_news = on_news
        self._limits = limits
        self._room = asyncio.Semaphore(limits.connections_max)

    async def serve(self) -> None:
        """Until it is cancelled; then every connection has ended. Raises OSError: the listener is no more."""
        with self._gateway.counting(self.tally):
            async with asyncio.TaskGroup() as connections:
                while True:
                    await self._room.acquire()
                    accepted = await self._accept()
                    await self._enter(accepted)
                    serving = connections.create_task(self._serve(accepted), name="egress connection")
                    serving.add_done_callback(partial(self._left, accepted))

    async def _enter(self, accepted: socket.socket) -> None:
        """Only with a connection in hand: who waits for one must not hold the room of the others."""
        try:
            await self._gateway.enter()
        except BaseException:
            accepted.close()
            raise

    async def _accept(self) -> socket.socket:
        """The next connection. Raises OSError."""
        while True:
            try:
                accepted, _address = await asyncio.get_running_loop().sock_accept(self._listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                await asyncio.sleep(_ROOM_PAUSE_S)
            else:
                return accepted

    async def _serve(self, accepted: socket.socket) -> None:
        inside = Stream(accepted)
        try:
            with contextlib.suppress(OSError):  # It broke off, or was too slow.
                await self._handle(inside)
        finally:
            inside.close()

    def _left(self, accepted: socket.socket, _serving: asyncio.Task[None]) -> None:
        """Also of one that was cancelled before its first step, and so closed nothing."""
        accepted.close()
        self._gateway.leave()
        self._room.release()

    async def _handle(self, inside: Stream) -> None:
        machine = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        try:
            async with asyncio.timeout(self._limits.head_s):
                request = await _head(machine, inside)
            asked = None if request is None else asked_by(request)
        except h11.RemoteProtocolError as fault:
            self._deny(None, Reason.MALFORMED)
            await self._answer(inside, fault.error_status_hint, str(fault))
        except BadRequest as fault:
            self._deny(None, Reason.MALFORMED)
            await self._answer(inside, fault.status, str(fault))
        else:
            if request is not None and asked is not None:
                await self._fulfil(machine, request, asked, inside)

    async def _fulfil(
        self, machine: h11.Connection, request: h11.Request, asked: Asked, inside: Stream
    ) -> None:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                outside = await self._connected(asked.place)
        except Refused as fault:
            self._deny(fault.place, fault.reason)
            await self._answer(inside, 403, f"egress to {fault}")
        except TimeoutError:
            await self._answer(inside, 504, f"{asked.place} does not answer")
        except OSError as error:
            await self._answer(inside, 502, f"{asked.place}: {error.strerror or error}")
        else:
            await self._join(machine, request, asked, inside, outside)

    async def _join(
        self, machine: h11.Connection, request: h11.Request, asked: Asked, inside: Stream, outside: Stream
    ) -> None:
        self.tally.connections += 1
        try:
            if asked.target is None:
                await inside.send(_ESTABLISHED)
                early, _is_end = machine.trailing_data
                await tunnel(inside, outside, early=early, idle_s=self._limits.idle_s)
                return
            patience = Patience(self._limits.idle_s)
            async with patience.lasting():
                await Exchange(machine, inside, outside, patience).run(request, asked)
        except BadGateway as fault:
            await self._answer(inside, 502, f"{asked.place}: {fault}")
        except (OSError, h11.ProtocolError):
            inside.break_off()
        finally:
            self.tally.sent_bytes += outside.sent_bytes
            self.tally.received_bytes += outside.received_bytes
            outside.close()

    async def _connected(self, place: Place) -> Stream:
        """Raises Refused, OSError: the last of what its addresses said."""
        refusal = OSError(errno.EHOSTUNREACH, "no address")
        for address in await route(place, self._allowlist, self._gateway.resolve):
            try:
                return Stream(await _connection(address, place.port))
            except OSError as error:
                refusal = error
        raise refusal

    def _deny(self, place: Place | None, reason: Reason) -> None:
        if self.tally.deny(Denial(place, reason)):
            self._on_news()

    async def _answer(self, inside: Stream, status: int, said: str) -> None:
        body = f"watchglass: {said}\n".encode(errors="replace")
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(self._limits.head_s):
            await inside.send(head.encode() + body)
            inside.end()
            await _drain(inside)


async def _head(machine: h11.Connection, inside: Stream) -> h11.Request | None:
    """None: it ended before it said anything. Raises h11.RemoteProtocolError, OSError."""
    while (event := machine.next_event()) is h11.NEED_DATA:
        left = HEAD_BYTES_MAX + 1 - inside.received_bytes
        machine.receive_data(await inside.receive(left))
    return event if isinstance(event, h11.Request) else None


async def _connection(address: Address, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connected = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(connected, (str(address), port))
    except BaseException:
        connected.close()
        raise
    return connected


async def _drain(inside: Stream) -> None:
    """Read what it still sends: closed under unread bytes, the kernel would take our answer back (RST)."""
    for _ in range(_DRAINED_MAX):
        if not await inside.receive():
            return
