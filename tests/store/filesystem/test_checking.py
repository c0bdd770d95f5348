"""A check beside a store that is being written: no false alarm, and no missed damage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from watchglass.store.base import Retention, StreamOffsets
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.checking import check_runtime
from watchglass.store.filesystem.holder import holder_of
from watchglass.store.filesystem.inspection import RuntimeCheck

from support.damage import Ticking, flip
from support.failing_files import FailingFiles
from support.stores import nobody, record_of, said

CHECKS = 25

pytestmark = pytest.mark.asyncio


async def test_a_store_that_is_being_written_has_no_problem(tmp_path: Path) -> None:
    retention = Retention(max_bytes=40_000, max_events=10_000)
    checked: list[RuntimeCheck] = []
    async with open_filesystem_store(
        tmp_path, "rt", retention=retention, clock_us=Ticking(), settle_s=0.01, files=FailingFiles()
    ) as store:
        done = asyncio.Event()

        async def check() -> None:
            while len(checked) < CHECKS:
                checked.append(await asyncio.to_thread(check_runtime, store.path))
            done.set()

        async def write(name: str) -> None:
            log = await store.create(record_of(name), nobody)
            number = 0
            while not done.is_set():
                number += 1
                texts = ["x" * 200] * (number % 7 + 1)
                await log.append(said(*texts), durable=number % 3 == 0, offsets=StreamOffsets(number))
                await asyncio.sleep(0)

        async def come_and_go() -> None:
            while not done.is_set():
                log = await store.create(record_of("guest"), nobody)
                await log.append(said("hello"), durable=True)
                await store.delete("guest")

        async with asyncio.TaskGroup() as tasks:
            for act in (check(), write("a"), write("b"), come_and_go()):
                tasks.create_task(act)
        holder = holder_of(store.path)
        assert holder is not None
        assert holder.pid is not None
        assert [each.exam.problems for each in checked] == [[]] * CHECKS
        assert all(each.holder is not None for each in checked)
        assert all(each.workers >= 2 for each in checked[2:])
    assert holder_of(store.path) is None
    assert check_runtime(store.path).exam.problems == []


def segment_of(worker: Path) -> Path:
    [path] = worker.glob("events/*.jsonl")
    return path


async def test_damage_is_found_beside_a_running_store(tmp_path: Path) -> None:
    async with open_filesystem_store(tmp_path, "rt", clock_us=Ticking(), files=FailingFiles()) as store:
        log = await store.create(record_of("a"), nobody)
        for _ in range(5):
            await log.append(said("x" * 200))
        path = segment_of(store.directory("a"))
        with path.open("ab") as file:
            file.write(b'{"cursor":"wo_0006')
        assert check_runtime(store.path).exam.problems == [], "an append may be under way"
        flip(path, 400, 0)
        [told] = check_runtime(store.path).exam.problems
        assert (told.code, told.path, told.worker_id) == ("segment_corrupt", str(path), "a")
