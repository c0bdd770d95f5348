"""Which budgets hold for a worker's whole tree here, and how much there is to give.

answer   {found: {name: {mechanism, reason}} as in `LimitCapabilities`,
          cgroup: [{path, version, serves}], memory_capacity_bytes, pids_capacity}
"""

from __future__ import annotations

from . import capacity
from .hierarchies import hierarchies


def probe(_asked: dict[str, object]) -> dict[str, object]:
    """See the module."""
    found = hierarchies()
    return {
        "found": {"tree_kill": {"mechanism": "subreaper", "reason": None}},
        "cgroup": [],
        "memory_capacity_bytes": capacity.memory_capacity_bytes(found),
        "pids_capacity": capacity.pids_capacity(found),
    }
