"""What we need of Hypercorn 0.18 and what it has no setting for. The only place that knows its inside.

Under another server, or when Hypercorn's inside is another one, `prepare_feed`
does nothing: the feed then works with what ASGI promises alone.

* Hypercorn accepts permessage-deflate whenever it is offered. Compression has
  its own state for every connection, so encoded frames could not be shared
 ; we forget the offer before the handshake is answered.
* Hypercorn gathers what a client sends until a message is whole, and goes on
  gathering after a message that is over its bound. A feed takes no messages:
  the first byte of one is noticed and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypercorn.protocol.ws_stream import Handshake, WebsocketBuffer, WSStream
from wsproto.events import Message

from .asgi import Send


def prepare_feed(send: Send, on_data: Callable[[], None]) -> None:
    """Before the upgrade: no compression; call `on_data` for every piece of data from the observer."""
    stream = getattr(send, "__self__", None)
    if not isinstance(stream, WSStream) or not isinstance(getattr(stream, "handshake", None), Handshake):
        return
    stream.handshake.extensions = None
    stream.buffer = _Unkept(on_data)


class _Unkept(WebsocketBuffer):
    """Keeps nothing of what comes in."""

    def __init__(self, on_data: Callable[[], None]) -> None:
        super().__init__(max_length=0)
        self._on_data = on_data

    def extend(self, event: Message[Any]) -> None:  # noqa: ARG002 - its content is nobody's business.
        self._on_data()

    def to_message(self) -> dict[str, object]:
        return {"type": "websocket.receive", "bytes": None, "text": ""}
