"""What a runtime has counted of its tasks since it started; `server/metrics.py` shows it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from watchglass.protocol.tasks import TaskErrorCode, TaskStatus

DURATION_BUCKETS_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 300_000)


@dataclass(slots=True)
class TaskTally:
    """Plain counters, written where things happen.

    `durations` has one count for each bucket (up to and with its bound, in ms),
    and one for what took longer.
    """

    statuses: Counter[TaskStatus] = field(default_factory=Counter)
    errors: Counter[TaskErrorCode] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS_MS) + 1))
    duration_sum_ms: int = 0

    def count(self, status: TaskStatus) -> None:
        """A task came to this status."""
        self.statuses[status] += 1

    def finished(self, status: TaskStatus, code: TaskErrorCode | None, duration_ms: int | None) -> None:
        """A task finished; None: without an error, or without having run."""
        self.count(status)
        if code is not None:
            self.errors[code] += 1
        if duration_ms is not None:
            self.durations[bisect_left(DURATION_BUCKETS_MS, duration_ms)] += 1
            self.duration_sum_ms += duration_ms
