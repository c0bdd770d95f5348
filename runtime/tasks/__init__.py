"""The task contract's view of workers: their words, their files, the end of their keep."""

from __future__ import annotations

from .face import TaskFilter, Tasks
from .tally import DURATION_BUCKETS_MS, TaskTally

__all__ = ["DURATION_BUCKETS_MS", "TaskFilter", "TaskTally", "Tasks"]
