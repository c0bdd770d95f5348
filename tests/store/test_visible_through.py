"""How far everything is visible: no event may come in at or below what a store has said once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import StoreIo
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import Log, Record, Retention, Store
from watchglass.store.filesystem import open_filesystem_store

from support.clock import Clock
from support.failing_files import FailingFiles, Failure
from support.stores import OPENERS, nobody, record_of, said
from support.tasks import begun, soon

if TYPE_CHECKING:
    from _typeshed import HasFileno

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=OPENERS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with OPENERS[request.param](Retention(), Clock()) as opened:
        yield opened


class Watching:
    """Hears everything, and holds the store to what it says of itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.promised = store.visible_through
        self.heard: list[tuple[WorkerId | None, Record]] = []
        store.watch(self.hear)

    def hear(self, worker_id: WorkerId | None, records: Sequence[Record]) -> None:
        for record in records:
            assert record.seq > self.promised, "it comes in behind what was said to be all"
            self.heard.append((worker_id, record))
        self.look()

    def look(self) -> None:
        now = self._store.visible_through
        assert self.promised <= now <= self._store.issued_through
        self.promised = now


async def test_a_fresh_store_has_nothing_to_come(store: Store) -> None:
    assert store.visible_through == store.issued_through


async def test_whoever_watches_hears_every_append_of_every_log_as_it_becomes_visible(store: Store) -> None:
    watching = Watching(store)
    log = await store.create(record_of("w"), nobody)
    for durable in (False, True):
        for worker_id, each in (("w", log), (None, store.runtime_log)):
            records = await each.append(said("x", "y"), durable=durable)
            assert watching.heard[-2:] == [(worker_id, record) for record in records]
    watching.look()
    assert watching.promised == store.issued_through >= store.runtime_log.head
    store.watch(None)
    await log.append(said("unheard"))
    assert len(watching.heard) == 8


async def test_what_is_heard_is_visible_already(store: Store) -> None:
    log = await store.create(record_of("w"), nobody)
    heads: list[Seq] = []
    store.watch(lambda _worker_id, _records: heads.append(log.head))
    for durable in (False, True):
        [record] = await log.append(said("x"), durable=durable)
        assert heads[-1] == record.seq


async def test_an_append_that_waits_for_its_round_holds_back_what_was_issued_after_it() -> None:
    async with OPENERS["fs"](Retention(), Clock()) as store:
        slow, quick = [await store.create(record_of(name), nobody) for name in ("slow", "quick")]
        await quick.append(said("begun"))
        watching = Watching(store)
        before = store.visible_through
        waiting = slow.append(said("first"), durable=True)
        gathered = waiting.__await__()
        next(gathered)  # Numbered, and not written yet.
        [later] = await quick.append(said("second"))
        assert quick.head == later.seq > store.issued_through - 1
        assert store.visible_through == before < later.seq
        gathered.close()
        await asyncio.sleep(0)
        watching.look()
        assert watching.promised == later.seq
        assert [record.seq for _, record in watching.heard] == [later.seq, slow.head]
        assert slow.head < later.seq


async def test_a_slow_disk_holds_back_nobody_who_reads(tmp_path: Path) -> None:
    goes_on = threading.Event()
    goes_on.set()
    files = FailingFiles()
    sync = files.fdatasync

    def slow_sync(fd: int | HasFileno) -> None:
        goes_on.wait()
        sync(fd)

    files.fdatasync = slow_sync  # A disk that takes its time.
    async with open_filesystem_store(tmp_path, files=files, settle_s=3600) as store:
        log = await store.create(record_of("w"), nobody)
        goes_on.clear()
        try:
            waiting = await begun(log.append(said("x"), durable=True))
            while log.head == BEGINNING:  # noqa: ASYNC110 - until its round is written.
                await asyncio.sleep(0)
            assert not waiting.done()
            assert store.visible_through == store.issued_through == log.head
        finally:
            goes_on.set()
        await soon(waiting)


@asynccontextmanager
async def failing_store(root: Path, files: FailingFiles) -> AsyncIterator[Store]:
    async with open_filesystem_store(root, files=files, settle_s=3600, clock_us=Clock()) as store:
        yield store


async def test_an_append_that_fails_holds_back_nothing_any_more(tmp_path: Path) -> None:
    files = FailingFiles()
    async with failing_store(tmp_path, files) as store:
        log = await store.create(record_of("w"), nobody)
        await log.append(said("fine"), durable=True)
        for durable in (False, True):
            watching = Watching(store)
            files.fail_at = len(files.taken) + 1
            files.failure = Failure.IO
            head = log.head
            with suppress(StoreIo):
                await log.append(said("lost"), durable=durable)
            watching.look()
            assert store.visible_through == store.issued_through
            if log.head == head:
                assert watching.heard == []


LOGS = 3
_STEP = st.tuples(st.integers(0, LOGS - 1), st.booleans(), st.integers(1, 3))
STEPS = st.lists(_STEP, min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, fail_after=st.integers(0, 40), fails=st.booleans())
async def test_nothing_ever_comes_in_behind_what_was_said(
    steps: list[tuple[int, bool, int]],
    fail_after: int,
    *,
    fails: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    files = FailingFiles()
    async with failing_store(tmp_path_factory.mktemp("store"), files) as store:
        logs: list[Log] = [store.runtime_log]
        logs += [await store.create(record_of(f"w{place}"), nobody) for place in range(LOGS - 1)]
        watching = Watching(store)
        if fails:
            files.fail_at = len(files.taken) + 1 + fail_after

        async def write(log: Log, count: int, *, durable: bool) -> None:
            with suppress(StoreIo):
                await log.append(said(*"x" * count), durable=durable)
            watching.look()

        async with asyncio.TaskGroup() as group:
            for place, durable, count in steps:
                group.create_task(write(logs[place], count, durable=durable))
                watching.look()
                if count > 1:
                    await asyncio.sleep(0)
                    watching.look()
        files.fail_at = 0  # What is left is closed in peace.
        assert store.visible_through == store.issued_through
