"""What a control group counts, read from the files as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchglass.runtime.executor.host.cgroup import Counters, Group


def counted(parent: Path, version: int, **files: str) -> Counters:
    group = Group(str(parent), "group", version, frozenset({"memory"}))
    for name, content in files.items():
        (Path(group.path) / name.replace("_", ".", 1)).write_text(content)
    told = Counters()
    group.tell(told)
    return told


@pytest.mark.parametrize(
    ("events", "killed"),
    [
        ("oom 0\noom_kill 0\noom_group_kill 0\n", 0),
        ("oom 1\noom_kill 2\noom_group_kill 1\n", 1),
        ("oom 1\noom_kill 5\noom_group_kill 1\n", 4),
        ("oom 1\noom_kill 1\noom_group_kill 1\n", 1),
        ("oom 0\noom_kill 2\n", 1),
    ],
    ids=["none", "alone", "with three others", "gone before its group was", "before Linux 5.17"],
)
def test_who_was_killed_with_its_whole_group_counts_once(tmp_path: Path, events: str, killed: int) -> None:
    assert counted(tmp_path, 2, memory_events=events, memory_peak="4096\n").oom_kills == killed


def test_where_each_is_killed_alone_the_kernel_counts_right(tmp_path: Path) -> None:
    told = counted(
        tmp_path,
        1,
        memory_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        memory_max_usage_in_bytes="4096\n",
    )
    assert told.oom_kills == 2
