"""A worker's files that somebody removed while the store was open: that log is over, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from watchglass.protocol.errors import StoreMissing
from watchglass.store.base import Log, LogClosed
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store
from watchglass.store.filesystem.open_store import Durability

from support.stores import nobody, read_all, record_of, said
from support.tasks import begun, soon

pytestmark = pytest.mark.asyncio


async def worker_in(store: FilesystemStore, worker_id: str) -> Log:
    """A worker with one event that is on the disk."""
    log = await store.create(record_of(worker_id), nobody)
    await log.append(said("first"), durable=True)
    await store.settle()
    return log


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("durability", ["os", "fsync"])
async def test_who_waits_for_a_log_whose_files_are_gone_is_told(
    tmp_path: Path, durability: Durability, *, durable: bool
) -> None:
    async with open_filesystem_store(tmp_path, durability=durability) as store:
        log, other = await worker_in(store, "gone"), await worker_in(store, "other")
        waiting = await begun(log.wait(after=log.head))
        shutil.rmtree(store.directory("gone"))
        with pytest.raises(StoreMissing):
            await log.append(said("second"), durable=durable)
        with pytest.raises(LogClosed) as closed:
            await soon(waiting)
        assert closed.value.removed
        await other.append(said("second"), durable=durable)
        assert len(await read_all(other)) == 2


@pytest.mark.parametrize("durability", ["os", "fsync"])
async def test_files_that_are_gone_keep_nobody_from_being_settled(
    tmp_path: Path, durability: Durability
) -> None:
    async with open_filesystem_store(tmp_path, durability=durability) as store:
        log, other = await worker_in(store, "gone"), await worker_in(store, "other")
        fresh = await store.create(record_of("fresh"), nobody)
        for each in (log, other):
            await each.append(said("not settled yet"))
            await each.append(said("nor this"), durable=True)
        await fresh.append(said("in a file that has no name on the disk yet"))
        for worker_id in ("gone", "fresh"):
            shutil.rmtree(store.directory(worker_id))
        await store.settle()
        await other.append(said("third"))
        await store.settle()
    async with open_filesystem_store(tmp_path, durability=durability) as store:
        assert [record.worker_id for record in await store.load()] == ["other"]
        assert len(await read_all(await store.open("other", nobody))) == 4


async def test_a_store_whose_own_log_is_gone_is_not_ready_though_its_folder_comes_back(
    tmp_path: Path,
) -> None:
    async with open_filesystem_store(tmp_path) as store:
        await store.runtime_log.append(said("first"), durable=True)
        await store.settle()
        aside = tmp_path / "aside"
        shutil.move(store.path, aside)
        with pytest.raises(StoreMissing):
            await store.runtime_log.append(said("second"), durable=True)
        shutil.move(aside, store.path)
        with pytest.raises(StoreMissing, match="its files were removed"):
            await store.check()
