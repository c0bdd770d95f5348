"""Who watches: the open feeds of a server, as `GET /v1/observers` tells of them."""

from __future__ import annotations

from .base import Wire
from .feed_v2 import FeedFilter
from .identity import WorkerId
from .scopes import TokenScope


class Observer(Wire):
    """One open feed, as of the moment at which it was looked at."""

    observer_id: str
    worker_id: WorkerId | None
    """None: all workers that its token may see."""
    transport: str
    subprotocol: str | None
    """The one that was agreed upon; None: feed version 1, or no WebSocket."""
    peer: str | None
    """Address and port."""
    since: str
    """RFC 3339, UTC."""
    token: str | None
    """Its name; None: the server asks for none."""
    scope: TokenScope
    filter: FeedFilter
    cursor: str | None
    """Of the last event that was handed to its connection, or passed over; None: it has no place yet."""
    lag_events: int | None
    """How many events lie behind that, the filter left aside; None: the journal cannot be read."""
    lag_s: float | None
    """How old the oldest of these is; 0 when there is none."""
    overtaken: bool
    """Retention has dropped some of what it was not sent; `lag_events` are those that are left."""
    frames_sent: int
    events_sent: int
    bytes_sent: int
    waiting_bytes: int | None
    """What of it waits in the buffer of its connection; what the kernel holds is not in it."""


class ObserversAnswer(Wire):
    """`{"observers": […]}`, in the order in which they came."""

    observers: list[Observer]
