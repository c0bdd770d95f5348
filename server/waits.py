"""The requests of one session that wait for something to happen (docs/session.md).

They hold no place among its commands, so however long they wait, others are
read and answered. A wait that is cancelled is answered as if it had asked for
now, so whoever asked gets one answer in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from watchglass.protocol.errors import InvalidRequest, ResourceLimitExceeded
from watchglass.protocol.session import WAITS_MAX, Id

_WHAT: Final = "waits of a session"


class _Wait(NamedTuple):
    name: Id
    answer_now: Callable[[], None]


class Waits:
    """Those that are not answered yet."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[None], _Wait] = {}

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self) -> None:
        """Raises ResourceLimitExceeded: there are too many."""
        if len(self._open) >= WAITS_MAX:
            raise ResourceLimitExceeded(_WHAT, WAITS_MAX)

    def add(self, task: asyncio.Task[None], name: Id, answer_now: Callable[[], None]) -> None:
        """A task that waits, and answers the request with this id."""
        self._open[task] = _Wait(name, answer_now)

    def answered(self, task: asyncio.Task[None] | None) -> None:
        """It is none any more, if it was one: its answer is on its way, or nobody wants one."""
        if task is not None:
            self._open.pop(task, None)

    def cancel(self, name: Id) -> None:
        """Have those with this id answered at once. Raises InvalidRequest: there is none."""
        found = [(task, wait) for task, wait in self._open.items() if wait.name == name]
        if not found:
            raise InvalidRequest(f"request: none with the id {name!r} waits")
        for task, wait in found:
            self.answered(task)
            task.cancel()
            wait.answer_now()
