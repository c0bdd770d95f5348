"""The folders of workers are spread over the disk, where the file system can do that."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path

import pytest

from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.memory import open_memory_store
from watchglass.store.spreading import spread_folders_in

pytestmark = pytest.mark.asyncio


GET_FLAGS, TOP = 0x80086601, 0x20000
"""FS_IOC_GETFLAGS, where a long has eight bytes, and FS_TOPDIR_FL: ioctl_iflags(2)."""


def are_spread(folder: str) -> bool:
    """Whether the folders made in this one are spread. Raises OSError: the file system cannot say."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        return bool(int.from_bytes(fcntl.ioctl(fd, GET_FLAGS, bytes(8))[:4], sys.byteorder) & TOP)
    finally:
        os.close(fd)


def spreads(place: Path) -> bool:
    """Whether the file system here lets a folder be marked."""
    folder = place / "marked"
    folder.mkdir()
    spread_folders_in(str(folder))
    try:
        return are_spread(str(folder))
    except OSError:
        return False


async def test_the_folders_of_workers_are_spread_where_the_file_system_can(tmp_path: Path) -> None:
    expected = spreads(tmp_path)
    for _ in range(2):  # A store that is there already is no different.
        async with open_filesystem_store(tmp_path / "root") as store:
            workers = str(store.path / "workers")
            assert (expected and are_spread(workers)) == expected


async def test_so_are_those_of_a_store_that_keeps_its_journals_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    expected = spreads(tmp_path)
    async with open_memory_store() as store:
        assert (expected and are_spread(str(store.path / "workers"))) == expected
