"""Who watches, and how far behind: what is asked of the open feeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from quart import current_app

from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.errors import StoreFault
from watchglass.protocol.feed_v2 import FeedFilter
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.observers import Observer
from watchglass.runtime.lag import NONE, Lag, lag_behind, most
from watchglass.store.memory import system_clock_us
from watchglass.store.numbering import rfc3339

from .open_feeds import OpenFeed, OpenFeeds, Place

OBSERVERS_KEY: Final = "watchglass.observers"


class Observers:
    """The observers of one server."""

    def __init__(self, feeds: OpenFeeds) -> None:
        self._feeds = feeds

    async def slowest(self) -> Lag:
        """The most that any of them is behind, in events and in time.

        Of those who watch the same worker only the hindmost is looked at, so what
        it costs does not grow with an audience. A log that cannot be read tells nothing.
        """
        found = [await lag_of(place, place.position()) for place in self._hindmost()]
        return most(lag for lag in found if lag is not None)

    async def told(self, worker_id: WorkerId | None = None) -> list[Observer]:
        """All of them, or those of one worker, in the order in which they came.

        Those that stand at the same place of one log are looked at once.
        """
        known: dict[tuple[WorkerId, Seq], Lag | None] = {}
        wanted = [feed for feed in self._feeds if worker_id in {None, feed.worker_id}]
        return [await _told(feed, known) for feed in wanted]

    def _hindmost(self) -> Iterator[Place]:
        by_worker: dict[WorkerId, Place] = {}
        for feed in self._feeds:
            place = feed.place
            if place is None:
                continue
            if feed.worker_id is None:
                yield place
                continue
            known = by_worker.get(feed.worker_id)
            if known is None or place.position() < known.position():
                by_worker[feed.worker_id] = place
        yield from by_worker.values()


async def _told(feed: OpenFeed, known: dict[tuple[WorkerId, Seq], Lag | None]) -> Observer:
    place, sent, waiting_bytes = feed.place, replace(feed.sent), feed.waiting_bytes
    position = None if place is None else place.position()
    lag = NONE if place is None or position is None else await _lag(feed.worker_id, place, position, known)
    return Observer(
        observer_id=feed.observer_id,
        worker_id=feed.worker_id,
        transport=feed.transport,
        subprotocol=feed.subprotocol,
        peer=feed.peer,
        since=rfc3339(feed.since_us),
        token=feed.caller.name,
        scope=feed.caller.grant.scope,
        filter=FeedFilter(types=None if place is None or place.types is None else list(place.types)),
        cursor=None if position is None else encode_cursor(position),
        lag_events=None if lag is None else lag.events,
        lag_s=None if lag is None else lag.age_s,
        overtaken=lag is not None and lag.overtaken,
        frames_sent=sent.frames,
        events_sent=sent.events,
        bytes_sent=sent.size_bytes,
        waiting_bytes=waiting_bytes,
    )


async def _lag(
    worker_id: WorkerId | None,
    place: Place,
    position: Seq,
    known: dict[tuple[WorkerId, Seq], Lag | None],
) -> Lag | None:
    if worker_id is None:
        return await lag_of(place, position)
    if (worker_id, position) not in known:
        known[worker_id, position] = await lag_of(place, position)
    return known[worker_id, position]


async def lag_of(place: Place, position: Seq) -> Lag | None:
    """How far behind a feed is that stands here; None: its log cannot be read."""
    try:
        return await lag_behind(place.logs(), position, system_clock_us())
    except StoreFault:
        return None


def the_observers() -> Observers:
    """Those of this application."""
    observers = current_app.extensions[OBSERVERS_KEY]
    assert isinstance(observers, Observers)
    return observers
