"""The task contract's view of workers: their words, their files, the end of their keep."""

from __future__ import annotations

from .face import TaskFilter, Tasks

__all__ = ["TaskFilter", "Tasks"]
