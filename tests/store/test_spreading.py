"""The folders of workers are spread over the disk, where the file system can do that."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.memory import open_memory_store
from watchglass.store.spreading import are_spread, spread_folders_in

pytestmark = pytest.mark.asyncio


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
