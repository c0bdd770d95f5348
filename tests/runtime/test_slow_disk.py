"""While the disk takes its time: who has seen a worker's end may do what takes an ended worker."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from watchglass.protocol.errors import WorkerActive, WorkerNotFound
from watchglass.protocol.workers import LifecycleRequest
from watchglass.runtime import Runtime, open_runtime, worker
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.files import Files

from support.patience import PATIENCE_S
from support.tasks import begun, soon, until
from support.workers import request_of

pytestmark = pytest.mark.asyncio


@dataclass
class House:
    """A runtime whose disk syncs when the test lets it."""

    runtime: Runtime
    may_sync: threading.Event

    async def with_an_end_that_is_seen(self) -> None:
        """The worker `w` has ended, as anybody can see, and the disk has not heard of it."""
        created = await self.runtime.create_worker(
            request_of(worker_id="w", execution={"program": "sleep", "args": ["600"]})
        )
        assert created.pid is not None
        self.may_sync.clear()
        os.kill(created.pid, signal.SIGKILL)
        await until(lambda: self.runtime.worker("w").exit is not None)


@pytest_asyncio.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    files, may_sync = Files(), threading.Event()
    may_sync.set()

    def fdatasync(fd: int) -> None:
        assert may_sync.wait(PATIENCE_S)
        os.fdatasync(fd)

    monkeypatch.setattr(files, "fdatasync", fdatasync)
    async with open_filesystem_store(tmp_path, files=files) as store, open_runtime(None, store) as runtime:
        try:
            yield House(runtime, may_sync)
        finally:
            may_sync.set()


async def test_a_worker_whose_end_is_seen_is_removed_when_the_disk_has_heard_of_it(house: House) -> None:
    await house.with_an_end_that_is_seen()
    removing = await begun(house.runtime.remove("w"))
    assert not removing.done()
    house.may_sync.set()
    await soon(removing)
    with pytest.raises(WorkerNotFound):
        house.runtime.worker("w")


async def test_of_two_who_remove_it_one_has_removed_it(house: House) -> None:
    await house.with_an_end_that_is_seen()
    removing = [await begun(house.runtime.remove("w")) for _ in range(2)]
    house.may_sync.set()
    told = await soon(asyncio.gather(*removing, return_exceptions=True))
    assert [type(each) for each in told if each is not None] == [WorkerNotFound]


async def test_an_end_that_the_disk_does_not_take_is_none_yet(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ENDING_S", 0.01)
    await house.with_an_end_that_is_seen()
    with pytest.raises(WorkerActive):
        await soon(house.runtime.remove("w"))
    house.may_sync.set()
    await soon(house.runtime.stop("w", LifecycleRequest()))
    await soon(house.runtime.remove("w"))
