"""Where a reader stands in a feed, and how the readers of asyncio and trio are iterated and left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from watchglass.protocol.follow import Following
from watchglass.protocol.said import Said, Told


class Standing:
    """A reader of a feed, over any number of connections."""

    _following: Following

    @property
    def cursor(self) -> str | None:
        """Where this reader stands: behind the last event that it gave out."""
        return self._following.cursor

    @property
    def ended(self) -> bool:
        """Whether the worker has ended and everything of it was given out."""
        return self._following.ended


class AsyncReader(Standing, ABC):
    """A reader that is awaited. The block that it is entered for leaves the feed."""

    @abstractmethod
    async def aclose(self) -> None:
        """Leave the feed. It may be left more than once."""

    @abstractmethod
    async def _next(self) -> Said:
        """What the feed says next. Raises StopAsyncIteration at its end."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Everything(AsyncReader):
    """Everything that a feed says: `Joined` at a connection, `Told` for an event, `Reset`."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Said:
        return await self._next()


class EventsAlone(AsyncReader):
    """The events of a worker until it has ended, or of many, each once, in order."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Told:
        while True:
            said = await self._next()
            if isinstance(said, Told):
                return said
