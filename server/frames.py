"""Frames that are ready, in bulk and straight to the connection.

    scope["extensions"]["watchglass.frames"]: FrameSink

A server's frames are not masked, so their bytes are the same for every observer
and are made once. Framework and server would handle each by itself; a sink
takes any number of them in one call, which costs what one frame costs.

The connection stays Hypercorn's: it reads, answers pings and closes. A sink
writes between its writes, whole frames only; with TLS they are encrypted for each.
Where that cannot be (HTTP/2, another server, or a Hypercorn whose inside is another
one) there is no such extension, and the feed sends event by event.
"""

from __future__ import annotations

from typing import Final

from .asgi import Scope
from .gathering import GatheringWriter

EXTENSION: Final = "watchglass.frames"


class FrameSink:
    """The outbound side of one WebSocket connection, once the upgrade is answered."""

    __slots__ = ("drain", "write")

    def __init__(self, writer: GatheringWriter) -> None:
        self.write = writer.write_at_once
        """Send whole frames behind all that was sent before, now; False: wait with `drain` before the next.

        What is written after the connection's end goes nowhere.
        """
        self.drain = writer.drain
        """Return when the peer has taken most of it. Raises ConnectionError when it is gone."""


def frame_sink(scope: Scope) -> FrameSink | None:
    """The sink of a connection; None where its server has none to give."""
    found = scope.get("extensions", {}).get(EXTENSION)
    return found if isinstance(found, FrameSink) else None
