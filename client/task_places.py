"""Where tasks are (docs/tasks.md), and how to wait for the end of one: no model, no connection.

What the typed calls and the command line share; the command line builds no model.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from watchglass.protocol.follow import backoff_s

from .faults import Unreachable
from .journey import PATIENCE_S

TASKS: Final = "/api/v1/tasks"
TASK: Final = f"{TASKS}/{{task_id}}"
TASK_RUNTIME: Final = "/api/v1/runtime"
OWNER_HEADER: Final = "x-execgo-owner"
FINISHED: Final = frozenset({"success", "failed", "cancelled"})
ROUND_MS: Final = 20_000
"""So long one request waits for a task's end; then it is asked again."""


def task_path(task_id: str, *rest: str) -> str:
    """The path of a task, or of something of it."""
    return "/".join([TASKS, quote(task_id, safe=""), *rest])


class TaskWait:
    """One wait for a task's end, over any number of requests.

    Pure; times are of a clock that never goes back.

    ask with wait_ms(now)      answered(now, status) → whether it is over
    the request was lost       lost(now, fault, …)   → seconds until the next one
    """

    def __init__(
        self, task_id: str, now_s: float, timeout_s: float | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        self._task_id = task_id
        self._timeout_s = timeout_s
        self._began_s = now_s
        self._patience_s = patience_s
        self._answered_at_s = now_s
        self._losses = 0

    def wait_ms(self, now_s: float) -> int:
        """How long the next request waits."""
        return min(ROUND_MS, round(1000 * self._left_s(now_s)))

    def answered(self, now_s: float, status: str) -> bool:
        """Whether the task has finished. Raises TimeoutError: it had not in time."""
        self._answered_at_s, self._losses = now_s, 0
        if status in FINISHED:
            return True
        self._check_time(now_s, status)
        return False

    def lost(self, now_s: float, fault: Unreachable, *, jitter: float) -> float:
        """Seconds until the next request; `jitter` is from 0 to 1.

        Raises TimeoutError, and the fault when nothing has answered for as long as the patience.
        """
        self._check_time(now_s, "unknown, for nothing answers")
        wait_s = backoff_s(self._losses, jitter)
        self._losses += 1
        if now_s + wait_s - self._answered_at_s >= self._patience_s:
            raise fault
        return min(wait_s, self._left_s(now_s))

    def _left_s(self, now_s: float) -> float:
        return (
            ROUND_MS / 1000 if self._timeout_s is None else max(0.0, self._began_s + self._timeout_s - now_s)
        )

    def _check_time(self, now_s: float, status: str) -> None:
        if self._timeout_s is not None and now_s >= self._began_s + self._timeout_s:
            raise TimeoutError(f"task {self._task_id} is {status} after {round(1000 * self._timeout_s)} ms")
