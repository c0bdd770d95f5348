"""How much memory and how many processes there are for all workers together.

The least of what the machine has and of what any group above the workers allows,
minus a reserve for the server and the supervisors.
"""

from __future__ import annotations

import os

from .hierarchies import Hierarchy
from .linux import read_small_file

RESERVE_SHARE = 16
"""One part in so many is kept back."""

MEMORY_RESERVE_BYTES_MAX = 1 << 30
PIDS_RESERVE_MAX = 1024


def memory_capacity_bytes(found: list[Hierarchy]) -> int:
    limits = [_memory_total()]
    for hierarchy in found:
        if hierarchy.version == 2:
            limits += limits_above(hierarchy, "memory.max")
        elif "memory" in hierarchy.controllers:
            limits += limits_above(hierarchy, "memory.limit_in_bytes")
            limits += _hidden_limits(hierarchy)
    return without_reserve(min(limits), MEMORY_RESERVE_BYTES_MAX)


def pids_capacity(found: list[Hierarchy]) -> int:
    limits = [_number("/proc/sys/kernel/threads-max"), _number("/proc/sys/kernel/pid_max")]
    for hierarchy in found:
        if hierarchy.version == 2 or "pids" in hierarchy.controllers:
            limits += limits_above(hierarchy, "pids.max")
    return without_reserve(min(limits), PIDS_RESERVE_MAX)


def without_reserve(limit: int, reserve_max: int) -> int:
    return limit - min(limit // RESERVE_SHARE, reserve_max)


def limits_above(hierarchy: Hierarchy, name: str) -> list[int]:
    """What file `name` says in our own group and in each above it that we can see."""
    limits = []
    folder = hierarchy.own
    while True:
        try:
            said = read_small_file(f"{folder}/{name}").strip()
        except OSError:  # The root has no such file, and a namespace may hide the rest.
            said = b"max"
        if said != b"max":
            limits.append(int(said))
        if len(folder) <= len(hierarchy.mount):
            return limits
        folder = os.path.dirname(folder)  # noqa: PTH120 - pathlib would weigh on the spawn daemon's children


def _hidden_limits(hierarchy: Hierarchy) -> list[int]:
    """v1 tells of the groups that a namespace hides too."""
    try:
        words = read_small_file(f"{hierarchy.own}/memory.stat").split()
        return [int(words[words.index(b"hierarchical_memory_limit") + 1])]
    except (OSError, ValueError):
        return []


def _memory_total() -> int:
    for line in read_small_file("/proc/meminfo").splitlines():
        name, _, size = line.partition(b":")
        if name == b"MemTotal":
            return int(size.split()[0]) * 1024
    raise OSError("/proc/meminfo has no MemTotal")


def _number(path: str) -> int:
    return int(read_small_file(path))
