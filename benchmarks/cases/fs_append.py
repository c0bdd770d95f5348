"""What an append to the journal in files costs, and what it costs at least.

Each writer is a task with a log of its own and appends one event of 250 bytes
after the other. What is not durable is written by then, what is durable at
level `fsync` is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from producers import EVENT, Append, nobody, passive_record, produced
from references import RECORD, LoopGroup, ThreadGroup, appended_file, inserted, written
from report import Case, Measured, Row, Scale, Spread, Target, interleaved

from watchglass.protocol.events import Event
from watchglass.store.base import Log
from watchglass.store.filesystem import open_filesystem_store

Level = Literal["os", "fsync"]
BATCH = 64
PIECE = 16
"""Events that a worker's output brings at once, when it says much."""


def run(scale: Scale) -> list[Row]:
    """Ours at each level, the barest loops that do the same, and SQLite."""
    many = scale.of(256, 32)
    seen = interleaved(scale.repetitions, _ways(scale, many))
    return [*_unsynced_rows(seen, many), *_durable_rows(seen, many)]


def _ways(scale: Scale, many: int) -> dict[str, Callable[[], Measured]]:
    directory = scale.directory
    plain = scale.of(32_000, 1_280)
    durable = {
        1: scale.of(800, 40),
        16: scale.of(8_000, 320),
        many: scale.of(32_000, 1_280),
    }
    ways: dict[str, Callable[[], Measured]] = {}
    for writers in durable:
        ways[f"fsync plain {writers}"] = partial(_ours, directory, "fsync", writers, plain)
        ways[f"loop {writers}"] = partial(_loop_group, directory, writers, plain)
        ways[f"fsync durable {writers}"] = partial(
            _ours, directory, "fsync", writers, durable[writers], durable=True
        )
        ways[f"thread {writers}"] = partial(_thread_group, directory, writers, durable[writers])
    return ways | {
        f"fsync plain 16 by {PIECE}": partial(
            _ours, directory, "fsync", 16, PIECE * plain // 4, events=PIECE
        ),
        "os durable 16": partial(_ours, directory, "os", 16, plain, durable=True),
        "write": partial(written, directory, plain, sync=False),
        "write sync": partial(written, directory, durable[1], sync=True),
        "sqlite NORMAL 1": partial(inserted, directory, scale.of(16_000, 640), batch=1, synchronous="NORMAL"),
        "sqlite NORMAL 64": partial(inserted, directory, plain, batch=BATCH, synchronous="NORMAL"),
        "sqlite FULL 1": partial(inserted, directory, durable[1], batch=1, synchronous="FULL"),
        "sqlite FULL 64": partial(
            inserted, directory, scale.of(32_000, 640), batch=BATCH, synchronous="FULL"
        ),
    }


def _unsynced_rows(seen: dict[str, dict[str, Spread]], many: int) -> list[Row]:
    rows: list[Row] = []
    for writers in (1, 16, many):
        by, ours, loop = _by(writers), seen[f"fsync plain {writers}"], seen[f"loop {writers}"]
        target = Target("≥", 0.7, of_reference=True) if writers == 16 else None
        rows += [
            Row(f"not durable, {by}; group write on the loop's thread", "events a second",
                ours["rate"], loop["rate"], target),
            Row(f"not durable, {by}, p50", "µs", ours["p50"], loop["p50"]),
            Row(f"not durable, {by}, p99", "µs", ours["p99"], loop["p99"]),
        ]  # fmt: skip
    one = seen["fsync plain 1"]
    rows += [
        Row(f"not durable, 16 writers, {PIECE} events an append; group write, 1 an append", "events a second",
            seen[f"fsync plain 16 by {PIECE}"]["rate"], seen["loop 16"]["rate"]),
        Row("durable at level `os`, 16 writers; group write on the loop's thread", "events a second",
            seen["os durable 16"]["rate"], seen["loop 16"]["rate"]),
        Row("not durable, 16 writers, processor time of an append; group write on the loop's thread", "µs",
            seen["fsync plain 16"]["cpu_us"], seen["loop 16"]["cpu_us"]),
        Row("not durable, 1 writer; one `os.write` each", "events a second",
            one["rate"], seen["write"]["rate"]),
        Row("not durable, 1 writer; SQLite WAL NORMAL, 1 a transaction", "events a second",
            one["rate"], seen["sqlite NORMAL 1"]["rate"]),
        Row("not durable, 16 writers; SQLite WAL NORMAL, 64 a transaction", "events a second",
            seen["fsync plain 16"]["rate"], seen["sqlite NORMAL 64"]["rate"]),
    ]  # fmt: skip
    return rows


def _durable_rows(seen: dict[str, dict[str, Spread]], many: int) -> list[Row]:
    rows: list[Row] = []
    for writers in (1, 16, many):
        by, ours, thread = _by(writers), seen[f"fsync durable {writers}"], seen[f"thread {writers}"]
        target = Target("≥", 0.8, of_reference=True) if writers == many else None
        rows += [
            Row(f"durable, {by}; group commit by a writer thread", "events a second",
                ours["rate"], thread["rate"], target),
            Row(f"durable, {by}, p50", "µs", ours["p50"], thread["p50"]),
            Row(f"durable, {by}, p99", "µs", ours["p99"], thread["p99"]),
        ]  # fmt: skip
    one, sync = seen["fsync durable 1"], seen["write sync"]
    rows += [
        Row(f"durable, {many} writers, processor time of an append; group commit by a writer thread", "µs",
            seen[f"fsync durable {many}"]["cpu_us"], seen[f"thread {many}"]["cpu_us"]),
        Row("durable, 1 writer, p50; `os.write` and fdatasync each", "µs",
            one["p50"], sync["p50"], Target("≤", 2, of_reference=True)),
        Row("durable, 1 writer, p99; `os.write` and fdatasync each", "µs", one["p99"], sync["p99"]),
        Row("durable, 1 writer; SQLite WAL FULL, 1 a transaction", "events a second",
            one["rate"], seen["sqlite FULL 1"]["rate"]),
        Row(f"durable, {many} writers; SQLite WAL FULL, 64 a transaction", "events a second",
            seen[f"fsync durable {many}"]["rate"], seen["sqlite FULL 64"]["rate"]),
    ]  # fmt: skip
    return rows


def _by(writers: int) -> str:
    return f"{writers} writer{'s' if writers > 1 else ''}"


def _ours(
    directory: Path, level: Level, writers: int, count: int, *, durable: bool = False, events: int = 1
) -> Measured:
    with TemporaryDirectory(dir=directory) as root:
        return asyncio.run(_appended(Path(root), level, writers, count, durable=durable, events=events))


async def _appended(
    root: Path, level: Level, writers: int, count: int, *, durable: bool, events: int
) -> Measured:
    async with open_filesystem_store(root, durability=level) as store:
        logs = [await store.create(passive_record(number), nobody) for number in range(writers)]
        for log in logs:
            await log.append([EVENT])
        await store.settle()
        appends = [_to(log, [EVENT] * events, durable=durable) for log in logs]
        measured = await produced(appends, count // events, suspends=durable and level == "fsync")
        return {**measured, "rate": events * measured["rate"]}


def _to(log: Log, events: Sequence[Event], *, durable: bool) -> Append:
    return lambda: log.append(events, durable=durable)


def _loop_group(directory: Path, writers: int, count: int) -> Measured:
    async def run() -> Measured:
        group = LoopGroup(fd)
        return await produced([lambda: group.append(RECORD)] * writers, count, suspends=True)

    with appended_file(directory) as fd:
        return asyncio.run(run())


def _thread_group(directory: Path, writers: int, count: int) -> Measured:
    async def run() -> Measured:
        group = ThreadGroup(fd)
        try:
            return await produced([lambda: group.append(RECORD)] * writers, count, suspends=True)
        finally:
            group.close()

    with appended_file(directory) as fd:
        return asyncio.run(run())


CASE = Case("fs_append", "Appending to the journal in files (reference: what the row names)", run)
