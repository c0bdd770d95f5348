"""What workers on this machine use now, from /proc (proc(5)).

Every process of a worker descends from its supervisor, also after a double
fork, so a worker's tree is all that stands below the parent of its program.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_PPID, _UTIME, _STIME, _RSS = 1, 11, 12, 21
"""Places in /proc/PID/stat behind the name, which may hold anything and ends with the last ')'."""


class Stat(NamedTuple):
    """One process."""

    parent: int
    cpu_ticks: int
    rss_pages: int


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """What a worker's processes use: CPU time of those that live now, and resident memory.

    Pages that several of them share are counted for each.
    """

    processes: int
    cpu_s: float
    rss_bytes: int


def parse_stat(line: str) -> Stat:
    """A line of /proc/PID/stat."""
    fields = line.rpartition(")")[2].split()
    return Stat(int(fields[_PPID]), int(fields[_UTIME]) + int(fields[_STIME]), int(fields[_RSS]))


def read_stats() -> dict[int, Stat]:
    """Every process that we may see; those that end meanwhile are left out."""
    stats: dict[int, Stat] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stats[int(folder.name)] = parse_stat((folder / "stat").read_text(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return stats


def usage_of(pids: Iterable[int], stats: Mapping[int, Stat]) -> dict[int, TreeUsage]:
    """By the pid of each program what its worker uses; a program that is gone is left out."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, stat in stats.items():
        children[stat.parent].append(pid)
    return {pid: _usage(stats[pid].parent, children, stats) for pid in pids if pid in stats}


def _usage(supervisor: int, children: Mapping[int, list[int]], stats: Mapping[int, Stat]) -> TreeUsage:
    tree: list[Stat] = []
    pending = list(children.get(supervisor, ()))
    while pending:
        pid = pending.pop()
        tree.append(stats[pid])
        pending += children.get(pid, ())
    return TreeUsage(
        processes=len(tree),
        cpu_s=sum(stat.cpu_ticks for stat in tree) / os.sysconf("SC_CLK_TCK"),
        rss_bytes=sum(stat.rss_pages for stat in tree) * os.sysconf("SC_PAGE_SIZE"),
    )
