"""When what is visible is brought to its own place, and what the log says of a disk that takes nothing."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.files import Files

from support.failing_files import FailingFiles
from support.stores import nobody, record_of, said
from support.tasks import soon, until

pytestmark = pytest.mark.asyncio


class SyncedFiles(Files):
    """Takes note of the names of what goes to the disk."""

    def __init__(self) -> None:
        self.synced: list[str] = []
        for name in ("fdatasync", "fsync"):
            setattr(self, name, self._noted)

    def _noted(self, fd: int) -> None:
        self.synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    def of_segments(self) -> int:
        return sum(name.endswith(".jsonl") and not name.startswith("wal-") for name in self.synced)

    def has_synced_more_than(self, segments: int) -> bool:
        return self.of_segments() > segments


async def test_a_record_waits_in_the_write_ahead_file_until_that_goes(in_memory: Path) -> None:
    files = SyncedFiles()
    async with open_filesystem_store(in_memory, files=files, settle_s=0.01) as store:
        log = await store.create(record_of("w", 1), nobody)
        await soon(log.append(said("one"), durable=True))
        await soon(store.settle())
        assert files.synced.count("worker.json") == 1
        await store.save(record_of("w", 2), durable=False)
        for _ in range(3):  # Each of them needs a turn of the settling: its segment alone has it.
            before = files.of_segments()
            await soon(log.append(said("more")))
            await until(partial(files.has_synced_more_than, before))
        assert files.synced.count("worker.json") == 1
        await soon(store.settle())
        assert files.synced.count("worker.json") == 2


async def test_a_directory_goes_to_the_disk_once_for_all_that_is_new_in_it(in_memory: Path) -> None:
    files = SyncedFiles()
    async with open_filesystem_store(in_memory, files=files, settle_s=3600) as store:
        for worker_id in ("a", "b", "c"):
            log = await store.create(record_of(worker_id, 1), nobody)
            await soon(log.append(said("one"), durable=True))
        files.synced.clear()
        await soon(store.settle())
        assert [files.synced.count(name) for name in ("workers", "events", "worker.json")] == [1, 3, 3]


async def test_a_store_that_falls_behind_says_so_once_and_once_when_it_has_caught_up(
    in_memory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    files = FailingFiles()
    async with open_filesystem_store(in_memory, files=files, settle_s=0.01) as store:
        log = await store.create(record_of("w", 1), nobody)
        await soon(log.append(said("one"), durable=True))
        tries = 0

        def refuse(*_arguments: object) -> None:
            nonlocal tries
            tries += 1
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as full:
            full.setattr(files, "fdatasync", refuse)
            full.setattr(files, "fsync", refuse)
            await soon(log.append(said("two")))
            await until(lambda: tries > 5)
        await until(lambda: "caught up" in caplog.text)
    words = [record.message for record in caplog.records if record.name.endswith(".settling")]
    assert len(words) == 2
    assert words[0].startswith("the store is behind, and tries again every 0.01 s: ")
    assert "No space left on device" in words[0]
    assert words[1].startswith("the store has caught up")
