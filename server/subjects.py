"""Whose events a request asks for: one worker's, or the runtime's and those of many (docs/feed.md).

Every transport serves either in the same way; here is what is different.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from watchglass import __version__
from watchglass.protocol.all_workers import RUNTIME_NAME, AllHello, Chosen
from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.errors import CursorExpired
from watchglass.protocol.feed_v2 import FeedFilter, FeedRetention, Hello
from watchglass.protocol.identity import WorkerId, parse_worker_id
from watchglass.protocol.start import FeedQuery
from watchglass.runtime import Reader, Runtime, pinned_watched, unpinned

from .greeting import hello, pin_for

COUNTED_LOGS_MAX: Final = 256
"""With more logs behind a cursor than this, `hello` does not say how many events they have."""


class Subject(Protocol):
    """What a request asks to watch."""

    name: str
    """For whoever reads our log: the worker's id, or the runtime's name."""
    worker_id: WorkerId | None
    """Whom it is about; None: all workers."""

    def check(self) -> None:
        """Refuse what is not there. Raises InvalidWorkerId, InvalidQuery, WorkerNotFound."""

    def observe(self, query: FeedQuery, *, silent: bool = False) -> AbstractAsyncContextManager[Reader]:
        """A reader of it; `silent`: events alone. Raises as `check` and `Runtime.observe`."""

    async def hello(self, reader: Reader, query: FeedQuery, heartbeat_s: float) -> Hello | AllHello:
        """Where a reader stands that has just joined. Raises StoreIo, StoreMissing, StoreCorrupt."""


class OneWorker:
    """One worker's feed."""

    def __init__(self, runtime: Runtime, worker_id: str) -> None:
        self._runtime = runtime
        self.name = worker_id
        self.worker_id: WorkerId | None = worker_id

    def check(self) -> None:
        """See `Subject`."""
        parse_worker_id(self.name)
        self._runtime.worker(self.name)

    def observe(self, query: FeedQuery, *, silent: bool = False) -> AbstractAsyncContextManager[Reader]:
        """See `Subject`."""
        parse_worker_id(self.name)
        return self._runtime.observe(self.name, query, pin=unpinned if silent else pin_for(query))

    async def hello(self, reader: Reader, query: FeedQuery, heartbeat_s: float) -> Hello:
        """See `Subject`."""
        return await hello(self._runtime, reader, query, heartbeat_s)


class AllWorkers:
    """The runtime's feed, with the events of these workers."""

    name = RUNTIME_NAME
    worker_id: WorkerId | None = None

    def __init__(self, runtime: Runtime, chosen: Chosen) -> None:
        self._runtime = runtime
        self._chosen = chosen

    def check(self) -> None:
        """See `Subject`."""
        for worker_id in sorted(self._chosen.ids or ()):
            self._runtime.worker(worker_id)

    @asynccontextmanager
    async def observe(self, query: FeedQuery, *, silent: bool = False) -> AsyncIterator[Reader]:
        """See `Subject`."""
        wants_none = silent or (query.snapshot == "none" and query.on_expired == "close")
        pin = unpinned if wants_none else pinned_watched
        async with self._runtime.observe_all(self._chosen, query, pin=pin) as reader:
            yield reader

    async def hello(self, reader: Reader, query: FeedQuery, heartbeat_s: float) -> AllHello:
        """See `Subject`."""
        kept = self._runtime.retention
        return AllHello(
            as_of=encode_cursor(reader.as_of),
            requested=query.requested,
            resumed_from=encode_cursor(reader.position),
            oldest=encode_cursor(reader.oldest),
            replay_count=await _replay_count(reader),
            retention=FeedRetention(
                max_bytes=kept.max_bytes, max_events=kept.max_events, max_age_s=kept.max_age_s
            ),
            filter=FeedFilter(types=None if query.types is None else list(query.types)),
            heartbeat_s=heartbeat_s,
            durability=self._runtime.durability,
            runtime_id=self._runtime.runtime_id,
            workers=self._chosen.said(),
            server_version=__version__,
        )


async def _replay_count(reader: Reader) -> int | None:
    if len(reader.logs_behind(reader.position)) > COUNTED_LOGS_MAX:
        return None
    try:
        return await reader.count_replayed()
    except CursorExpired:  # Retention overtook it already: the next it hears is that.
        return 0
