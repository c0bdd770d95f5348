"""Folders by descriptor: no link is followed, and what is handed over is all of it and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchglass.runtime.executor.host import folders
from watchglass.runtime.executor.host.identity import reachable_by

OTHER_UID = 64_321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return tmp_path / "top"


def opened(top: Path, path: str) -> Path:
    directory = os.open(top, os.O_RDONLY)
    try:
        fd = folders.open_beneath(directory, path)
    finally:
        os.close(directory)
    try:
        return Path(f"/proc/self/fd/{fd}").readlink()
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", ["a/b", "a//b/", "./a/./b"])
def test_a_folder_below_is_opened(top: Path, path: str) -> None:
    assert opened(top, path) == top / "a" / "b"


@pytest.mark.parametrize("path", ["..", "a/../..", "a/b/../../../outside"])
def test_a_path_that_leads_upwards_is_refused(top: Path, path: str) -> None:
    with pytest.raises(PermissionError):
        opened(top, path)


@pytest.mark.parametrize("path", ["link", "link/b", "a/link", "a/link/b"])
def test_a_symbolic_link_on_the_way_is_refused(top: Path, path: str) -> None:
    (top / "link").symlink_to(top / "a")
    (top / "a" / "link").symlink_to(top / "a")
    with pytest.raises(NotADirectoryError):
        opened(top, path)


@needs_root
def test_all_that_lies_in_a_folder_is_handed_over_but_not_what_links_lead_to(top: Path) -> None:
    (top / "a" / "file").touch()
    (top / "a" / "link").symlink_to(top.parent / "outside")
    fd = os.open(top, os.O_RDONLY)
    folders.hand_over(fd, OTHER_UID)
    os.close(fd)
    mine = [top, *top.rglob("*")]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in mine} == {(OTHER_UID, OTHER_UID)}
    assert (top.parent / "outside").stat().st_uid == 0


def test_who_may_walk_to_a_path_is_told_by_the_bits_of_the_folders_above(tmp_path: Path) -> None:
    assert reachable_by(OTHER_UID, "/usr/bin/env")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    for mode, may in ((0o700, False), (0o711, True), (0o644, False)):
        folder.chmod(mode)
        above = reachable_by(OTHER_UID, str(folder))
        assert reachable_by(OTHER_UID, str(folder / "file")) is (above and may)
    assert not reachable_by(OTHER_UID, "/no/such/folder/file")
