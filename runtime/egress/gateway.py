"""What the proxies of all workers share: the lookup of names, the room for connections, and sums."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from .resolving import Resolver
from .tally import Tally

CONNECTIONS_MAX: Final = 1024
"""Of all workers at once. Each costs two descriptors, of which the feeds and the API need some too."""


class Passed(NamedTuple):
    """What went through, and what was refused, since this server runs."""

    connections: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    denied: int = 0

    def and_of(self, tally: Tally) -> Passed:
        """With what one worker's proxy counted."""
        return Passed(
            self.connections + tally.connections,
            self.sent_bytes + tally.sent_bytes,
            self.received_bytes + tally.received_bytes,
            self.denied + tally.denied,
        )


class Gateway:
    """One for a runtime."""

    def __init__(self, resolve: Resolver, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self.resolve = resolve
        self.connections_max = connections_max
        self.open = 0
        """Connections that hold room now."""
        self.waiting = 0
        """Workers with a connection for which there is none."""
        self._room = asyncio.Semaphore(connections_max)
        self._tallies: set[Tally] = set()
        self._passed = Passed()

    @property
    def passed(self) -> Passed:
        """The sums of all workers, the ended ones included."""
        passed = self._passed
        for tally in self._tallies:
            passed = passed.and_of(tally)
        return passed

    @contextmanager
    def counting(self, tally: Tally) -> Iterator[None]:
        """Have it in the sums, during the block as it grows and then as it is."""
        self._tallies.add(tally)
        try:
            yield
        finally:
            self._tallies.remove(tally)
            self._passed = self._passed.and_of(tally)

    async def enter(self) -> None:
        """Wait for room for one connection; first come, first served. `leave` must follow."""
        self.waiting += 1
        try:
            await self._room.acquire()
        finally:
            self.waiting -= 1
        self.open += 1

    def leave(self) -> None:
        """Give the room back."""
        self.open -= 1
        self._room.release()
