"""Every feed that is open on one server, whatever its transport: whose it is, where it stands, what it sent.

    with open_feeds.opened(Transport.SSE, scope, worker_id) as feed:   one more, while the block runs
        feed.follow(position=…, logs=…)                                once it has a place
        feed.count(…), feed.count_batch(…)                             what is on its way
        feed.reason = "ended"                                          why it is over

A send costs a few additions. Whoever asks, for `/metrics` or the list of
observers, adds up and looks into the logs then.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import RuntimeFault
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.scopes import Need, Reach, TokenScope
from watchglass.store.base import ReadableLog

from .asgi import Scope
from .auth import Access, bracketed
from .batch_sizes import BatchSizes
from .callers import caller_of
from .connections import request_of
from .permits import Asked

_LOG = logging.getLogger(__name__)


class Transport(StrEnum):
    """How a feed comes to its observer."""

    WEBSOCKET_V1 = "websocket_v1"
    WEBSOCKET_V2 = "websocket_v2"
    SSE = "sse"
    LONG_POLL = "long_poll"
    SESSION = "session"


@dataclass(slots=True)
class Sent:
    """What is on its way to an observer, or to many."""

    frames: int = 0
    events: int = 0
    size_bytes: int = 0

    def add(self, more: Sent) -> None:
        """And this."""
        self.frames += more.frames
        self.events += more.events
        self.size_bytes += more.size_bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a feed stands, to be asked at any time and never by itself."""

    position: Callable[[], Seq]
    """Sequence of the last event that it handed to its connection, or passed over by its filter."""
    logs: Callable[[], Iterable[ReadableLog]]
    """What it tells of: one worker's log, or those of many that have something behind the position."""
    types: Sequence[str] | None
    """Its filter; None: it tells everything."""


class OpenFeed:
    """One of them."""

    def __init__(
        self,
        number: int,
        batch_sizes: BatchSizes,
        access: Access | None,
        transport: Transport,
        scope: Scope,
        worker_id: WorkerId | None,
        subprotocol: str | None,
    ) -> None:
        self._batch_sizes = batch_sizes
        self._request = request_of(scope)
        self.observer_id = f"ob-{number}"
        self.transport = transport
        self.worker_id = worker_id
        """None: it tells of all workers."""
        self.subprotocol = subprotocol
        self.peer = _peer(scope)
        self.since_us = time.time_ns() // 1000
        self.caller = caller_of(scope)
        self._access = access
        self._on_revoked: Callable[[RuntimeFault], None] | None = None
        self.place: Place | None = None
        """None: it has none yet, or was refused one."""
        self.sent = Sent()
        self.reason = "client_closed"
        """A closed set of words, for the metrics."""

    def follow(
        self,
        position: Callable[[], Seq],
        logs: Callable[[], Iterable[ReadableLog]],
        types: Sequence[str] | None = None,
    ) -> None:
        """It has a place; see `Place`."""
        self.place = Place(position, logs, types)

    def count(self, frames: int, size_bytes: int, events: int = 0) -> None:
        """Frames that are on their way, and how many events they tell."""
        sent = self.sent
        sent.frames += frames
        sent.size_bytes += size_bytes
        sent.events += events

    def count_batch(self, events: int, size_bytes: int) -> None:
        """One frame that has so many events."""
        self._batch_sizes.add(self.transport, events)
        self.count(1, size_bytes, events)

    def heed_revocation(self, on_revoked: Callable[[RuntimeFault], None]) -> None:
        """Have `on_revoked` told why its caller may no longer watch, from now on; maybe at once."""
        self._on_revoked = on_revoked
        self.recheck()

    def recheck(self) -> None:
        """Tell it if its caller may no longer watch this: a token was revoked, or is another now."""
        if self._access is None or self._on_revoked is None:
            return
        reach = Reach.RUNTIME if self.worker_id is None else Reach.WORKER
        asks = Asked(Need(TokenScope.OBSERVE, reach), self.worker_id)
        fault = self._access.fault_of(self.caller, asks)
        if fault is not None:
            self._on_revoked(fault)

    @property
    def waiting_bytes(self) -> int | None:
        """What waits in its connection's buffer, whosever it is; None under another server."""
        return None if self._request is None else self._request.waiting_bytes


class OpenFeeds:
    """Those that are open, in the order in which they were opened, and the sums of all that ever were."""

    def __init__(self, access: Access | None = None) -> None:
        """`access` says whether a token still holds; without it, each does."""
        self.batch_sizes = BatchSizes()
        self._access = access
        self.closed: Counter[str] = Counter()
        """How many have ended, by reason."""
        self._sent: dict[Transport, Sent] = {}  # By those that are closed.
        self._numbers = itertools.count(1)
        self._open: dict[str, OpenFeed] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __iter__(self) -> Iterator[OpenFeed]:
        """As they are at this moment."""
        return iter(list(self._open.values()))

    async def wait_none_open(self) -> None:
        """Return when no feed is open."""
        await self._none_open.wait()

    @contextmanager
    def opened(
        self,
        transport: Transport,
        scope: Scope,
        worker_id: WorkerId | None = None,
        *,
        subprotocol: str | None = None,
    ) -> Iterator[OpenFeed]:
        """One more, while the block runs; without a `worker_id` it tells of all workers."""
        number, sizes, access = next(self._numbers), self.batch_sizes, self._access
        feed = OpenFeed(number, sizes, access, transport, scope, worker_id, subprotocol)
        self._open[feed.observer_id] = feed
        self._none_open.clear()
        _tell("feed opened", feed)
        try:
            yield feed
        finally:
            del self._open[feed.observer_id]
            self._sent.setdefault(transport, Sent()).add(feed.sent)
            self.closed[feed.reason] += 1
            _tell("feed closed", feed, reason=feed.reason, **asdict(feed.sent))
            if not self._open:
                self._none_open.set()

    def recheck(self) -> None:
        """End those whose tokens no longer hold."""
        for feed in self:
            feed.recheck()

    def open_count(self) -> Counter[Transport]:
        """How many are open, by transport."""
        return Counter(feed.transport for feed in self._open.values())

    def sent(self) -> dict[Transport, Sent]:
        """What all have sent since the start, open or closed, by transport."""
        total = {transport: replace(sent) for transport, sent in self._sent.items()}
        for feed in self._open.values():
            total.setdefault(feed.transport, Sent()).add(feed.sent)
        return total


def _tell(what: str, feed: OpenFeed, **facts: object) -> None:
    if _LOG.isEnabledFor(logging.INFO):
        known = {
            "observer_id": feed.observer_id,
            "transport": feed.transport,
            "worker_id": feed.worker_id,
            "peer": feed.peer,
            "token": feed.caller.name,
        }
        _LOG.info(what, extra={**known, **facts})


def _peer(scope: Scope) -> str | None:
    """The address and port of who watches; None where the server does not tell."""
    client = scope.get("client")
    return None if client is None else f"{bracketed(client[0])}:{client[1]}"
