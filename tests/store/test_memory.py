"""What is the memory store's own: it is gone with its block."""

from __future__ import annotations

import shutil

import pytest

from watchglass.protocol.errors import StoreIo
from watchglass.store.base import LogClosed
from watchglass.store.memory import open_memory_store, system_clock_us

from support.stores import nobody, record_of, said
from support.tasks import soon

pytestmark = pytest.mark.asyncio


async def test_a_memory_store_without_options_works() -> None:
    async with open_memory_store() as store:
        assert (store.backend, store.durability) == ("memory", "none")
        log = await store.create(record_of("w"), nobody)
        before_us = system_clock_us()
        [record] = await log.append(said("a"))
        assert record.seq >= before_us


async def test_after_the_block_the_logs_are_closed_and_the_files_are_gone() -> None:
    async with open_memory_store() as store:
        log = await store.create(record_of("w"), nobody)
        folder = store.directory("w")
        assert folder.is_dir()
    assert not folder.parent.parent.exists()
    with pytest.raises(LogClosed):
        await soon(log.wait(after=log.head))


async def test_a_folder_that_takes_no_writes_is_told_with_the_operation_and_the_file() -> None:
    async with open_memory_store() as store:
        await store.create(record_of("w"), nobody)
        shutil.rmtree(store.directory("w").parent.parent)
        with pytest.raises(StoreIo, match=r"write .*/probe: No such file or directory"):
            await store.check()


async def test_a_worker_whose_folder_cannot_be_made_is_not_kept() -> None:
    async with open_memory_store() as store:
        store.directory("w").parent.rmdir()
        store.directory("w").parent.write_text("in the way")
        with pytest.raises(StoreIo, match=r"create .*/w: "):
            await store.create(record_of("w"), nobody)
        assert await store.load() == []
