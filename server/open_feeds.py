"""Every feed that is open on one server, whatever its transport."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .metrics import Metrics, Transport

_FRAMES_PER_COUNT: Final = 256


class OpenFeed:
    """One of them: why it ends, and what it sent."""

    def __init__(self, metrics: Metrics, transport: Transport) -> None:
        self._metrics = metrics
        self._transport = transport
        self._frames = 0
        self._bytes = 0
        self.reason = "client_closed"
        """A closed set of words, for the metrics."""

    def count(self, frames: int, size_bytes: int) -> None:
        """Frames that are on their way, told to the metrics many at a time."""
        self._frames += frames
        self._bytes += size_bytes
        if self._frames >= _FRAMES_PER_COUNT:
            self.flush()

    def count_batch(self, events: int, size_bytes: int) -> None:
        """One frame that has so many events."""
        self._metrics.batch_sent(self._transport, events)
        self.count(1, size_bytes)

    def flush(self) -> None:
        """Tell the metrics what they do not know yet."""
        self._metrics.feed_sent(self._transport, self._frames, self._bytes)
        self._frames = self._bytes = 0


class OpenFeeds:
    """How many there are, and whether there is none."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()

    async def wait_none_open(self) -> None:
        """Return when no feed is open."""
        await self._none_open.wait()

    @contextmanager
    def opened(self, transport: Transport) -> Iterator[OpenFeed]:
        """One more, while the block runs."""
        feed = OpenFeed(self._metrics, transport)
        self._open += 1
        self._none_open.clear()
        self._metrics.feed_opened()
        try:
            yield feed
        finally:
            self._open -= 1
            feed.flush()
            self._metrics.feed_closed(feed.reason)
            if not self._open:
                self._none_open.set()
