"""Forgets tasks that finished long ago: their journals, their records, their files.

A heap of ends, oldest first: a round looks at those that are due and at no others.
A task that somebody removed meanwhile is passed over.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from watchglass.protocol.errors import RuntimeFault, RuntimeStopped, WorkerNotFound
from watchglass.protocol.tasks import TaskId

_LOG = logging.getLogger(__name__)


class Collector:
    """One task of the runtime that keeps the ended ones bounded by age."""

    def __init__(
        self,
        *,
        retention_us: int,
        interval_s: float,
        now_us: Callable[[], int],
        remove: Callable[[TaskId, int], Awaitable[None]],
    ) -> None:
        """`remove` forgets the task of an id if it finished at that time. Raises as `Runtime.remove`."""
        self._retention_us = retention_us
        self._interval_s = interval_s
        self._now_us = now_us
        self._remove = remove
        self._ends: list[tuple[int, TaskId]] = []
        self._rounds: asyncio.Task[None] | None = None

    def add(self, task_id: TaskId, finished_us: int) -> None:
        """A task has finished; it will be due."""
        heapq.heappush(self._ends, (finished_us, task_id))

    def start(self) -> None:
        """Begin the rounds."""
        self._rounds = asyncio.create_task(self._repeat(), name="watchglass-collector")

    async def stop(self) -> None:
        """No further round; a removal that was begun is finished by the runtime."""
        if self._rounds is not None:
            self._rounds.cancel()
            with suppress(asyncio.CancelledError):
                await self._rounds

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.collect()
            except RuntimeStopped:
                return

    async def collect(self) -> None:
        """Forget all that are due. Raises RuntimeStopped."""
        due_us = self._now_us() - self._retention_us
        while self._ends and self._ends[0][0] <= due_us:
            finished_us, task_id = self._ends[0]
            try:
                await self._remove(task_id, finished_us)
            except (RuntimeStopped, WorkerNotFound) as fault:
                if isinstance(fault, RuntimeStopped):
                    raise
            except RuntimeFault as fault:
                _LOG.warning("task %s cannot be collected now: %s", task_id, fault)
                return  # The store refuses: the next round tries again.
            heapq.heappop(self._ends)
