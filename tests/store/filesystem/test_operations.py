"""Random appends, reads and restarts against a plain list of everything appended."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import CursorExpired
from watchglass.store.base import Record, Retention, StreamOffsets
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store

from support.clock import Clock
from support.failing_files import FailingFiles
from support.stores import nobody, read_all, record_of, said

STEPS = ["append", "append", "append", "together", "read", "read", "settle", "restart", "kill"]


class Run:
    """A store, and all that was ever appended to its one worker."""

    def __init__(self, root: Path, retention: Retention, data: st.DataObject) -> None:
        self.root = root
        self.retention = retention
        self.data = data
        self.clock = Clock(1000)
        self.appended: list[Record] = []
        self.offsets = StreamOffsets()
        self.open = AsyncExitStack()

    async def start(self) -> None:
        self.store: FilesystemStore = await self.open.enter_async_context(
            open_filesystem_store(
                self.root, retention=self.retention, clock_us=self.clock, files=FailingFiles(), settle_s=3600
            )
        )
        assert not self.store.findings
        if not await self.store.load():
            await self.store.create(record_of("w"), nobody)
        self.log = await self.store.open("w", nobody)

    async def append(self) -> None:
        draw = self.data.draw
        self.clock.now_us += draw(st.integers(-50, 50))
        sizes = draw(st.lists(st.integers(0, 300), min_size=1, max_size=4))
        offsets = draw(st.none() | st.builds(StreamOffsets, st.integers(0, 9), st.just(5), st.just(0)))
        self.offsets = offsets or self.offsets
        texts = ["x" * size for size in sizes]
        self.appended += await self.log.append(said(*texts), durable=draw(st.booleans()), offsets=offsets)

    async def together(self) -> None:
        """Appends of one moment, durable and not, keep the order of their asking."""
        ways = self.data.draw(st.lists(st.booleans(), min_size=2, max_size=5))
        before = self.log.head
        await asyncio.gather(*(self.log.append(said("y"), durable=durable) for durable in ways))
        new = await read_all(self.log, after=max(before, self.log.trimmed_through))
        assert len(new) == len(ways) or self.log.trimmed_through > before
        self.appended += new

    async def read(self) -> None:
        log = self.log
        kept = [record for record in self.appended if record.seq > log.trimmed_through]
        position = self.data.draw(st.sampled_from([0, *(r.seq + d for r in self.appended for d in (-1, 0))]))
        assert await log.holds(Seq(position)) == (position in {record.seq for record in kept})
        if position < log.trimmed_through:
            with pytest.raises(CursorExpired):
                await log.read(after=Seq(position))
            return
        count = self.data.draw(st.integers(1, 5))
        after = [record for record in kept if record.seq > position]
        assert list(await log.read(after=Seq(position), max_records=count)) == after[:count]
        assert await read_all(log, after=position) == after

    async def settle(self) -> None:
        await self.store.settle()

    async def restart(self) -> None:
        before = self.log.head, self.log.oldest, self.log.trimmed_through
        await self.open.aclose()
        await self.start()
        assert (self.log.head, self.log.oldest, self.log.trimmed_through) == before
        assert self.log.offsets == self.offsets

    async def kill(self) -> None:
        """Go on in the directory as it is now, while the store still has it."""
        copy = self.root.with_name(f"{self.root.name}k")
        shutil.copytree(self.root, copy)
        await self.open.aclose()
        self.root = copy
        before = self.log.head, self.log.oldest, self.log.trimmed_through
        await self.start()
        assert (self.log.head, self.log.oldest, self.log.trimmed_through) == before
        assert self.log.offsets == self.offsets


@settings(max_examples=60)
@given(
    data=st.data(),
    steps=st.lists(st.sampled_from(STEPS), min_size=3, max_size=20),
    retention=st.builds(
        Retention, max_events=st.sampled_from([1, 5, 20, 1000]), max_bytes=st.sampled_from([1, 3000, 100_000])
    ),
)
def test_any_operations_give_what_a_plain_list_gives(
    data: st.DataObject, steps: list[str], retention: Retention
) -> None:
    async def operate(root: Path) -> None:
        run = Run(root, retention, data)
        await run.start()
        try:
            for step in steps:
                await getattr(run, step)()
            await run.read()
        finally:
            await run.open.aclose()

    with tempfile.TemporaryDirectory() as made:
        asyncio.run(operate(Path(made) / "r"))
