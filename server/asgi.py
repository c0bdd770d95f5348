"""The words of ASGI, as far as we use them, and answers that need no framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    for found, value in scope["headers"]:
        if found == name:
            return str(value.decode("latin1"))
    return None


def query_parameters(scope: Scope) -> dict[str, list[str]]:
    """The parameters of a request, with those that are empty."""
    return parse_qs(scope["query_string"].decode("latin1"), keep_blank_values=True)


async def answer_http(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """One whole answer to an HTTP request."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def refuse_websocket(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """An HTTP answer in place of the upgrade; a plain refusal where the server knows no such answer."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "websocket.http.response.body", "body": body})
