"""Where control groups are, for every way in which a host mounts them."""

from __future__ import annotations

import pytest

from watchglass.runtime.executor.host.capacity import without_reserve
from watchglass.runtime.executor.host.hierarchies import parse

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
)


def found(mounts: str, groups: str) -> list[tuple[int, tuple[str, ...], str]]:
    return [(one.version, one.controllers, one.own) for one in parse(mounts, groups)]


def test_v2_alone() -> None:
    assert found(V2, "0::/system.slice/agents.service\n") == [
        (2, (), "/sys/fs/cgroup/system.slice/agents.service")
    ]


def test_v1_with_hierarchies_of_several_controllers() -> None:
    groups = "9:name=systemd:/init\n4:memory:/a/b\n2:cpu,cpuacct:/\n"
    assert found(V1, groups) == [
        (1, ("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct"),
        (1, ("memory",), "/sys/fs/cgroup/memory/a/b"),
        (1, ("name=systemd",), "/sys/fs/cgroup/systemd/init"),
    ]


def test_both_at_once() -> None:
    mounts = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    assert found(mounts, "4:memory:/\n0::/\n") == [
        (1, ("memory",), "/sys/fs/cgroup/memory"),
        (2, (), "/sys/fs/cgroup/unified"),
    ]


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/docker/abc", "/sys/fs/cgroup"),
        ("/docker/abc/inner", "/sys/fs/cgroup/inner"),
        ("/docker/abcd", "/sys/fs/cgroup"),
        ("/../other", "/sys/fs/cgroup"),
    ],
)
def test_a_container_sees_what_is_below_its_own_group(path: str, own: str) -> None:
    mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    assert found(mounts, f"0::{path}\n") == [(2, (), own)]


def test_a_hierarchy_that_is_mounted_twice_counts_once() -> None:
    assert len(found(V2 + V2.replace("/sys/fs/cgroup", "/mnt/again"), "0::/\n")) == 1


def test_a_mount_whose_name_has_a_space() -> None:
    mounts = V2.replace("/sys/fs/cgroup", "/mnt/a\\040b")
    assert found(mounts, "0::/\n") == [(2, (), "/mnt/a b")]


def test_a_host_without_any() -> None:
    assert found("22 1 0:20 / / rw - ext4 /dev/sda1 rw\n", "0::/\n") == []


def test_the_reserve_is_a_share_and_has_a_bound() -> None:
    assert without_reserve(160, 1000) == 150
    assert without_reserve(1_000_000, 1000) == 999_000
