"""One HTTP request through Quart, in the one task that the server gave it.

Quart's own way is two more tasks, one for what the client sends and one for the
handler, and a third that waits for the body: for a short request they cost more
than its handler does. Nearly always the body is there when the head is, and the
answer is out before anybody could look whether the client has left.

    body ──there at once?──▶ handler, here ──still at it?──▶ a task watches for the client's leaving
      └──▶ it is long, or comes slowly: Quart's own way
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers import Request, Response
from quart.wrappers.response import DataBody
from werkzeug.datastructures import Headers

BODY_BYTES_MAX: Final = 64 << 10
"""More is taken while the handler runs, which may refuse it."""
BODY_S_MAX: Final = 0.02
"""For how long a body that should be here is waited for first."""
WATCH_AFTER_S: Final = 0.1
"""A handler that takes longer is cancelled when its client leaves."""


class InlineConnection(ASGIHTTPConnection):
    """Quart's connection to a request, without tasks of its own where none is needed."""

    _request: Request | None = None

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = self._request = super()._create_request_from_scope(send)
        try:
            async with asyncio.timeout(BODY_S_MAX):
                is_there = _is_short(request.headers) and await _take_body(request, receive)
        except TimeoutError:
            is_there = False
        except _ClientLeft:
            return
        if not is_there:
            await super().__call__(receive, send)
            return
        request.body_timeout = None  # All of it is here.
        await _Watched(receive, send).run(lambda sent: self.handle_request(request, sent))

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        return self._request or super()._create_request_from_scope(send)

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        """As Quart does it, but what is at hand goes in one piece."""
        if not isinstance(response, Response) or not isinstance(response.response, DataBody):
            await super()._send_response(send, response)
            return
        head = encode_headers(response.headers)
        await send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": head,
                "trailers": False,
            }
        )
        await send({"type": "http.response.body", "body": response.response.data, "more_body": False})


class _Watched:
    """A handler in the present task; when its client leaves early, it is cancelled."""

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._watcher: asyncio.Task[None] | None = None
        self._is_answered = False
        self._has_left = False

    async def run(self, handle: Callable[[ASGISendCallable], Awaitable[None]]) -> None:
        """Return when it is answered, or when the client has left."""
        timer = self._loop.call_later(WATCH_AFTER_S, self._begin)
        try:
            await handle(self._sent)
        except asyncio.CancelledError:
            if not self._has_left:
                raise
            self._task.uncancel()
        finally:
            self._is_answered = True
            timer.cancel()
            if self._watcher is not None:
                self._watcher.cancel()

    async def _sent(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._is_answered = True  # Then the end of the exchange is no leaving.
        await self._send(message)

    def _begin(self) -> None:
        self._watcher = self._loop.create_task(self._watch(), name="a client that waits")

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._is_answered:
            self._has_left = self._task.cancel()


class _ClientLeft(Exception):
    """Before it had said all."""


async def _take_body(request: Request, receive: ASGIReceiveCallable) -> bool:
    """Take what comes until it is all there; a cancelled call has taken what had come."""
    while True:
        message = cast("Mapping[str, Any]", await receive())
        if message["type"] != "http.request":
            raise _ClientLeft
        request.body.append(message.get("body", b""))
        if not message.get("more_body", False):
            request.body.set_complete()
            return True


def _is_short(headers: Headers) -> bool:
    if "Transfer-Encoding" in headers:
        return False
    length = headers.get("Content-Length", "0")
    return length.isdecimal() and int(length) <= BODY_BYTES_MAX
