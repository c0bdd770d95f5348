"""Changes that are under way: each runs to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from watchglass.protocol.errors import RuntimeFault

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


class Changes:
    """Tasks that a cancelled caller does not take with it."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    def start(self, change: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a change; a refusal that nobody waits for is no news, a bug goes to the log."""
        task = asyncio.get_running_loop().create_task(change)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end, even when the caller is cancelled meanwhile."""
        return await asyncio.shield(self.start(change))

    async def wait_idle(self) -> None:
        """Return when no change is under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not isinstance(fault, RuntimeFault):
            _LOG.error("a change failed", exc_info=fault)
