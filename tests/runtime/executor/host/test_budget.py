"""When a worker is looked at: never without a limit, and else in time to notice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from watchglass.runtime.executor import LaunchPlan
from watchglass.runtime.executor.host.budget import CPU_TICK_S, MEMORY_TICK_S, Budget
from watchglass.runtime.executor.host.cgroup import Groups
from watchglass.runtime.executor.host.plan import Plan
from watchglass.runtime.executor.host.tree import Reaper

CPUS = os.cpu_count() or 1


def budget(**limits: Any) -> Budget:
    here = Path.cwd()
    plan = LaunchPlan(argv=("true",), env={}, cwd=str(here), directory=here, cookie="A=b", **limits)
    groups = Groups([], "w", memory_bytes=None, pids_max=None)
    begun = Budget(Plan(plan.encode()), groups, Reaper(0))
    begun.begin(100.0)
    return begun


@pytest.mark.parametrize("limits", [{}, {"wall_time_ms": 5}, {"pids_max": 5}, {"file_size_bytes": 5}])
def test_a_worker_whose_limits_the_kernel_holds_is_never_looked_at(limits: dict[str, int]) -> None:
    assert budget(**limits).due_at is None


def test_cpu_time_is_looked_at_when_all_cpus_together_could_have_used_it() -> None:
    assert budget(cpu_time_s=3600).due_at == 100.0 + 3600 / CPUS
    assert budget(cpu_time_s=1).due_at == 100.0 + max(CPU_TICK_S, 1 / CPUS)


def test_memory_that_no_group_holds_is_looked_at_twice_a_second() -> None:
    begun = budget(memory_bytes=1 << 40)
    assert begun.due_at == 100.0 + MEMORY_TICK_S
    assert begun.look(100.5) is None
    assert begun.due_at == 100.5 + MEMORY_TICK_S


def test_after_the_end_nothing_is_looked_at() -> None:
    begun = budget(cpu_time_s=1, memory_bytes=1)
    begun.end()
    assert begun.due_at is None
    assert begun.look(1000.0) is None
