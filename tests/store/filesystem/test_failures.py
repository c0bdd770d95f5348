"""A disk that fails at any one step, or a process that is killed there: nothing visible is lost.

One script is run once for every step that it takes: with an error there, with a
short write, or killed before it, within it, behind it. Then the directory is opened
again, and has what the script's own list says.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreFault
from watchglass.protocol.events import Event
from watchglass.protocol.lifecycle import Wanted
from watchglass.store.base import Log, OnVisible, Record, Retention, StoreUnusable, StreamOffsets
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store
from watchglass.store.filesystem.open_store import Durability
from watchglass.store.worker_record import WorkerRecord

from support.clock import Clock
from support.failing_files import OF_WRITES, FailingFiles, Failure
from support.stores import nobody, read_all, record_of, said
from support.tasks import soon

RETENTION = Retention(max_events=24, max_bytes=16_000)
NEVER_S = 3600.0


@dataclass
class Expected:
    """What one log was told, and what of that was seen."""

    visible: list[tuple[Record, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    offsets: list[StreamOffsets] = field(default_factory=lambda: [StreamOffsets()])

    def watch(self) -> OnVisible:
        def on_visible(records: Sequence[Record], events: Sequence[Event]) -> None:
            self.visible += zip(records, [event.data["text"] for event in events], strict=True)

        return on_visible


@dataclass
class Model:
    """What the store owes after any failure."""

    logs: dict[str, Expected] = field(default_factory=dict)
    records: dict[str, list[WorkerRecord | None]] = field(default_factory=dict)
    """The versions that a worker's record may have; None: it may be gone."""
    number: int = 0

    async def append(
        self, log: Log, name: str, count: int = 1, *, durable: bool = False, io: bool = False
    ) -> None:
        texts = [f"{name} {self.number + place} {'x' * 200}" for place in range(count)]
        self.number += count
        offsets = StreamOffsets(self.number, 2 * self.number, 0) if io else None
        expected = self.logs.setdefault(name, Expected())
        before = log.head
        try:
            await soon(log.append(said(*texts), durable=durable, offsets=offsets))
        except StoreFault:
            if log.head == before:
                expected.refused.update(texts)
                return
        if offsets is not None:
            expected.offsets.append(offsets)

    async def change(self, act: Awaitable[object], name: str, then: WorkerRecord | None) -> None:
        """A change of a record: known when it succeeds, one of two when it does not."""
        before = self.records.get(name, [None])
        self.records[name] = [*before, then]
        try:
            await soon(act)
        except StoreFault:
            return
        self.records[name] = [then]


async def open_log(store: FilesystemStore, model: Model, name: str) -> Log | None:
    """A worker's log, of a new worker if there is none."""
    if any(record.worker_id == name for record in await store.load()):
        return await store.open(name, model.logs[name].watch())
    record = record_of(name, len(model.records))
    expected = model.logs[name] = Expected()
    log: Log | None = None

    async def create() -> None:
        nonlocal log
        log = await store.create(record, expected.watch())

    await model.change(create(), name, record)
    return log


async def some_work(store: FilesystemStore, model: Model) -> None:
    """Every kind of operation, on two workers that stay and one that goes."""
    a, b, doomed = [await open_log(store, model, name) for name in ("a", "b", "doomed")]
    runtime = store.runtime_log
    store._runtime_log.on_visible = model.logs.setdefault("runtime", Expected()).watch()
    await model.append(runtime, "runtime", durable=True)
    for log, name in ((a, "a"), (b, "b"), (doomed, "doomed")):
        if log is not None:
            await model.append(log, name, 2, durable=True, io=True)
            await model.append(log, name)
    if a is not None and b is not None:
        both = ((a, "a"), (b, "b"))
        await asyncio.gather(*(model.append(log, name, durable=True) for log, name in both * 2))
        await model.append(a, "a", io=True)
        await store_settled(store)
        await model.append(a, "a", 4)
        await model.append(a, "a", durable=True)
        down = record_of("b", 1).model_copy(update={"wanted": Wanted.DOWN})
        await model.change(store.save(down), "b", down)
        await asyncio.gather(*(model.append(a, "a", durable=True, io=True) for _ in range(5)))
    if doomed is not None:
        await model.change(store.delete("doomed"), "doomed", None)
    if a is not None and b is not None:
        await model.append(b, "b", durable=True)
        await model.append(a, "a", 2, durable=True)
        await store_settled(store)
        await model.append(b, "b")


async def store_settled(store: FilesystemStore) -> None:
    with suppress(StoreFault):
        await soon(store.settle())


async def more_work(store: FilesystemStore, model: Model, files: FailingFiles) -> None:
    """When the failure is over, everything is taken again, at once."""
    for name in ("a", "b"):
        log = await open_log(store, model, name)
        assert log is not None
        for durable in (False, True):
            was_over = files.is_over
            refused = len(model.logs[name].refused)
            await model.append(log, name, durable=durable, io=durable)
            assert len(model.logs[name].refused) == refused or not was_over
        await agree(log, model.logs[name], killed=False)


async def agree(log: Log, expected: Expected, *, killed: bool) -> None:
    """A log holds what was visible behind retention, in order, once, and nothing that was refused."""
    kept = await read_all(log, after=log.trimmed_through)
    texts = [orjson.loads(record.line)["payload"]["data"]["text"] for record in kept]
    visible = [(record, text) for record, text in expected.visible if record.seq > log.trimmed_through]
    assert kept[: len(visible)] == [record for record, _ in visible]
    further = texts[len(visible) :]
    if further:  # Killed before anybody could be told: then it may be there, as a whole.
        assert killed
        assert set(further) <= expected.refused
    assert (log.oldest, log.head) == ((kept[0].seq, kept[-1].seq) if kept else (log.oldest, log.head))
    if not further:
        assert log.offsets == expected.offsets[-1]
    expected.visible += zip(kept[len(visible) :], further, strict=True)
    expected.refused -= set(further)
    expected.offsets.append(log.offsets)


async def check(path: Path, model: Model, durability: Durability, *, killed: bool) -> None:
    """Open the directory again, on a disk without failures, and compare."""
    newest = max((record.seq for log in model.logs.values() for record, _ in log.visible), default=Seq(0))
    async with open_filesystem_store(
        path,
        retention=RETENTION,
        durability=durability,
        clock_us=Clock(),
        settle_s=NEVER_S,
        files=FailingFiles(),
    ) as store:
        found = {record.worker_id: record for record in await store.load()}
        for name, may_be in model.records.items():
            assert found.get(name) in may_be
        assert set(found) <= set(model.records)
        for name in found:
            await agree(await store.open(name, nobody), model.logs[name], killed=killed)
        await agree(store.runtime_log, model.logs.get("runtime", Expected()), killed=killed)
        assert not [finding for finding in store.findings if finding.severity == "error"]
        for name in found:
            log = await store.open(name, model.logs[name].watch())
            [record] = await log.append(said(f"{name} again"), durable=True)
            assert record.seq > newest


async def run(path: Path, files: FailingFiles, model: Model, durability: Durability) -> None:
    """The script on a failing disk."""
    with suppress(StoreUnusable, StoreFault):
        async with open_filesystem_store(
            path, retention=RETENTION, durability=durability, clock_us=Clock(), settle_s=NEVER_S, files=files
        ) as store:
            await some_work(store, model)
            if not files.dead:
                await more_work(store, model, files)


async def left_behind(path: Path, durability: Durability) -> Model:
    """A directory as a killed process leaves it, with something to be brought home."""
    model = Model()
    files = FailingFiles()
    with suppress(StoreFault):
        async with open_filesystem_store(
            path,
            "rt",
            retention=RETENTION,
            durability=durability,
            clock_us=Clock(),
            settle_s=NEVER_S,
            files=files,
        ) as store:
            await some_work(store, model)
            files.dead = True
    return model


async def everything(root: Path, files: FailingFiles, model: Model, durability: Durability) -> None:
    await run(root, files, model, durability)
    await check(root, model, durability, killed=files.dead)


@pytest.mark.parametrize("durability", ["fsync", pytest.param("os", marks=pytest.mark.soak)])
@pytest.mark.parametrize("failure", Failure)
def test_nothing_visible_is_lost_at_whatever_step_the_disk_fails(
    in_memory: Path, durability: Durability, failure: Failure
) -> None:
    before = in_memory / "before"
    model = asyncio.run(left_behind(before, durability))
    for step, name in steps_to_fail(before, model, durability, failure):
        root = in_memory / str(step)
        shutil.copytree(before, root)
        try:
            asyncio.run(everything(root, FailingFiles(step, failure), deepcopy(model), durability))
        except Exception as fault:
            fault.add_note(f"step {step}: {failure} at {name}")
            raise
        shutil.rmtree(root)


def steps_to_fail(
    before: Path, model: Model, durability: Durability, failure: Failure
) -> list[tuple[int, str]]:
    """The steps of a run that nothing disturbs, or those of them that write."""
    root = before.with_name("undisturbed")
    shutil.copytree(before, root)
    files = FailingFiles()
    asyncio.run(run(root, files, deepcopy(model), durability))
    assert len(files.taken) > 100
    steps = enumerate(files.taken, 1)
    return [(number, name) for number, name in steps if name == "pwrite" or failure not in OF_WRITES]
