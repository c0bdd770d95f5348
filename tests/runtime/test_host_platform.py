"""The machine, as its files and variables tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchglass.runtime.host_platform import this_platform


def test_a_bare_machine_is_no_container(tmp_path: Path) -> None:
    found = this_platform(tmp_path, {})
    assert (found.os, found.containerized, found.kubernetes) == ("linux", False, False)


@pytest.mark.parametrize(
    ("file", "content"),
    [(".dockerenv", ""), ("run/.containerenv", ""), ("proc/1/cgroup", "0::/kubepods/burstable/x\n")],
)
def test_a_mark_of_a_container_is_seen(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    assert this_platform(tmp_path, {}).containerized


def test_kubernetes_is_known_by_its_variable(tmp_path: Path) -> None:
    found = this_platform(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert (found.containerized, found.kubernetes) == (True, True)
