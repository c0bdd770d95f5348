"""Who watches, and how far behind: what is asked of the open feeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quart import current_app

from watchglass.protocol.errors import StoreFault
from watchglass.protocol.identity import WorkerId
from watchglass.runtime.lag import Lag, lag_behind, most
from watchglass.store.memory import system_clock_us

from .open_feeds import OpenFeeds, Place

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
        return most([lag for place in self._hindmost() if (lag := await lag_of(place)) is not None])

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


async def lag_of(place: Place) -> Lag | None:
    """How far behind a place is now; None: its log cannot be read."""
    try:
        return await lag_behind(place.logs(), place.position(), system_clock_us())
    except StoreFault:
        return None


def the_observers() -> Observers:
    """Those of this application."""
    observers = current_app.extensions[OBSERVERS_KEY]
    assert isinstance(observers, Observers)
    return observers
