"""What a worker's tree may use of CPU time and memory, where that takes looking at it.

CPU time is read from the worker's group, memory is the kernel's to enforce there;
without groups both are read from /proc. Who has no such limit is never looked at.
"""

from __future__ import annotations

import os

from . import treewatch
from .cgroup import Groups
from .ladder import CPU_TIME, MEMORY
from .plan import Plan
from .tree import Reaper

CPU_TICK_S = 0.1
"""The least time between two looks at CPU time; no more is due before all CPUs together could pass it."""

MEMORY_TICK_S = 0.5


class Budget:
    """Tells when to look, and what was exceeded. Times are seconds of the caller's clock."""

    __slots__ = ("_cpu_at", "_cpu_s", "_groups", "_memory_at", "_memory_bytes", "_reaper")

    def __init__(self, plan: Plan, groups: Groups, reaper: Reaper) -> None:
        self._groups = groups
        self._reaper = reaper
        self._cpu_s = plan.cpu_time_s
        self._memory_bytes = None if groups.serving("memory") else plan.memory_bytes
        self._cpu_at: float | None = None
        self._memory_at: float | None = None

    def begin(self, now: float) -> None:
        """The program runs from here on."""
        if self._cpu_s is not None:
            self._cpu_at = now + self._cpu_pause_s(0.0)
        if self._memory_bytes is not None:
            self._memory_at = now + MEMORY_TICK_S

    def end(self) -> None:
        """Nothing is looked at any more."""
        self._cpu_at = self._memory_at = None

    @property
    def due_at(self) -> float | None:
        """When to look next."""
        due = [at for at in (self._cpu_at, self._memory_at) if at is not None]
        return min(due) if due else None

    def look(self, now: float) -> str | None:
        """The cause to end the worker for, if one of its limits is passed; told once each."""
        if self._memory_at is not None and now >= self._memory_at:
            self._memory_at = now + MEMORY_TICK_S
            if self._is_memory_passed():
                self._memory_at = None
                return MEMORY
        if self._cpu_at is not None and now >= self._cpu_at:
            assert self._cpu_s is not None
            used_s = self._cpu_used_s()
            self._cpu_at = now + self._cpu_pause_s(used_s)
            if used_s >= self._cpu_s:
                self._cpu_at = None
                return CPU_TIME
        return None

    def _cpu_pause_s(self, used_s: float) -> float:
        assert self._cpu_s is not None
        return max(CPU_TICK_S, (self._cpu_s - used_s) / (os.cpu_count() or 1))

    def _cpu_used_s(self) -> float:
        group = self._groups.serving("cpu_time")
        if group is not None:
            try:
                return sum(group.cpu_us()) / 1e6
            except OSError:  # Somebody removed it.
                pass
        live_s, _ = treewatch.used(os.getpid())
        return live_s + self._reaper.user_cpu_s + self._reaper.system_cpu_s

    def _is_memory_passed(self) -> bool:
        """The cheap upper bound first."""
        assert self._memory_bytes is not None
        root = os.getpid()
        _, resident = treewatch.used(root)
        return resident > self._memory_bytes and treewatch.proportional_bytes(root) > self._memory_bytes
