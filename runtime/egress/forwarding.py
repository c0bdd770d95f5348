"""One request of HTTP/1 to one place, and its response back.

Both heads are written anew and both bodies are framed anew, so that neither side
can smuggle a second message past the list: what follows a request is not read.
"""

from __future__ import annotations

import asyncio
import contextlib

import h11

from .request import Asked, headers_back, headers_onward
from .stream import Patience, Stream

_BUFFER_BYTES_MAX = 64 * 1024

_Next = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class BadGateway(Exception):
    """The place answered nothing that is a response, before anything of it was passed on."""


class Exchange:
    """Between `inside`, whose machine has read the head of a request, and `outside`."""

    def __init__(self, machine: h11.Connection, inside: Stream, outside: Stream, patience: Patience) -> None:
        self._server = machine
        self._client = h11.Connection(h11.CLIENT, max_incomplete_event_size=_BUFFER_BYTES_MAX)
        self._inside = inside
        self._outside = outside
        self._patience = patience
        self._has_answered = False

    async def run(self, request: h11.Request, asked: Asked) -> None:
        """Return when the response is passed on.

        Raises:
            BadGateway: See there.
            OSError, h11.ProtocolError: One side broke off in the middle.
        """
        assert asked.target is not None
        head = h11.Request(
            method=request.method, target=asked.target, headers=headers_onward(request, asked.place)
        )
        await self._send_outside(head)
        body = asyncio.create_task(self._send_body(), name="egress request body")
        try:
            await self._pass_response()
        except h11.RemoteProtocolError as fault:
            if self._has_answered:
                raise
            raise BadGateway(str(fault)) from None
        finally:
            body.cancel()
            await asyncio.wait([body])
        if not body.cancelled():
            body.result()

    async def _send_body(self) -> None:
        """A request that breaks off takes the connection with it: the place must not take it for whole."""
        with contextlib.suppress(OSError, h11.ProtocolError):
            while isinstance(event := await self._next(self._server, self._inside), h11.Data):
                await self._send_outside(h11.Data(data=event.data))
            if isinstance(event, h11.EndOfMessage):
                await self._send_outside(h11.EndOfMessage())
                return
        self._outside.abandon()

    async def _pass_response(self) -> None:
        while True:
            event = await self._next(self._client, self._outside)
            if isinstance(event, h11.InformationalResponse):
                await self._send_inside(h11.InformationalResponse(status_code=event.status_code, headers=[]))
            elif isinstance(event, h11.Response):
                self._has_answered = True
                await self._send_inside(
                    h11.Response(
                        status_code=event.status_code, reason=event.reason, headers=headers_back(event)
                    )
                )
            elif isinstance(event, h11.Data):
                await self._send_inside(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self._send_inside(h11.EndOfMessage())
                return
            else:
                raise h11.RemoteProtocolError("the connection ended before the response")

    async def _next(self, machine: h11.Connection, stream: Stream) -> _Next:
        while (event := machine.next_event()) is h11.NEED_DATA:
            machine.receive_data(await stream.receive())
            self._patience.renew()
        return event

    async def _send_outside(self, event: h11.Event) -> None:
        await self._send(self._client, self._outside, event)

    async def _send_inside(self, event: h11.Event) -> None:
        await self._send(self._server, self._inside, event)

    async def _send(self, machine: h11.Connection, stream: Stream, event: h11.Event) -> None:
        data = machine.send(event)
        if data:
            await stream.send(data)
            self._patience.renew()
