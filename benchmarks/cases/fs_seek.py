"""Anywhere in a large log: where an observer with an old cursor begins.

The reference knows where every 1,024th event begins, reads on from there and
splits: what an index in memory would buy, made for each log at each start.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from filling import fill_log
from producers import EVERYTHING, nobody
from report import Case, Measured, Row, Scale, Target, interleaved, latencies

from watchglass.protocol.cursor import Seq
from watchglass.store.filesystem import open_filesystem_store

INDEXED_EVENTS = 1024
READ_BYTES = 320 << 10
_SEQ = slice(14, 30)  # Of `{"cursor":"wo_0123456789abcdef",…`.
_EVENT_BYTE = ord("u")

Place = tuple[Seq, Path, int]
"""A sequence, and where its line begins."""


def run(scale: Scale) -> list[Row]:
    """Random cursors, one event each, with all files in the system's memory."""
    size_bytes = scale.of(1 << 30, 4 << 20)
    root = scale.directory / "seek"
    worker_id = fill_log(root, size_bytes // 250)
    index = _index(root)
    cursors = _cursors(index, scale.of(2_000, 50))
    seen = interleaved(
        scale.repetitions,
        {"ours": lambda: _ours(root, worker_id, cursors), "index": lambda: _indexed(index, cursors)},
    )
    what = f"one event behind any cursor of {size_bytes >> 20} MiB"
    return [
        Row(f"{what}, p50", "ms", seen["ours"]["p50"], seen["index"]["p50"], Target("≤", 1)),
        Row(f"{what}, p99", "ms", seen["ours"]["p99"], seen["index"]["p99"]),
        Row(f"{what}, processor time", "ms", seen["ours"]["cpu_ms"], seen["index"]["cpu_ms"]),
    ]


def _ours(root: Path, worker_id: str, cursors: Sequence[Seq]) -> Measured:
    async def seek() -> Measured:
        async with open_filesystem_store(root, retention=EVERYTHING) as store:
            log = await store.open(worker_id, nobody)
            await log.read(after=log.head)
            taken: list[float] = []
            began_cpu = time.process_time()
            for cursor in cursors:
                began = time.perf_counter()
                (found,) = await log.read(after=cursor, max_records=1)
                taken.append(time.perf_counter() - began)
                assert found.seq == cursor + 1
            return _measured(taken, time.process_time() - began_cpu)

    return asyncio.run(seek())


def _indexed(index: Sequence[Place], cursors: Sequence[Seq]) -> Measured:
    taken: list[float] = []
    began_cpu = time.process_time()
    for cursor in cursors:
        began = time.perf_counter()
        _, path, offset = index[bisect_right(index, cursor, key=_seq_of) - 1]
        fd = os.open(path, os.O_RDONLY)
        data = os.pread(fd, READ_BYTES, offset)
        os.close(fd)
        wanted = b"%016x" % (cursor + 1)
        found = next(line for line in data.split(b"\n") if line[_SEQ] == wanted)
        taken.append(time.perf_counter() - began)
        assert found
    return _measured(taken, time.process_time() - began_cpu)


def _measured(taken: Sequence[float], cpu_s: float) -> Measured:
    return {**latencies(taken), "cpu_ms": 1000 * cpu_s / len(taken)}


def _index(root: Path) -> list[Place]:
    """Every 1,024th event and the first of each file."""
    index: list[Place] = []
    for path in sorted(root.glob("runtimes/*/workers/*/events/*.jsonl")):
        offset = events = 0
        for line in path.read_bytes().splitlines(keepends=True):
            if line[3] == _EVENT_BYTE:
                if events % INDEXED_EVENTS == 0:
                    index.append((Seq(int(line[_SEQ], 16)), path, offset))
                events += 1
            offset += len(line)
    return index


def _cursors(index: Sequence[Place], count: int) -> list[Seq]:
    """Of any events but the newest few, which are in memory anyway."""
    chosen = random.Random(1)
    return [Seq(chosen.randint(index[0][0], index[-2][0] - 1)) for _ in range(count)]


def _seq_of(place: Place) -> Seq:
    return place[0]


CASE = Case("fs_seek", "Looking a cursor up in a large log (reference: an index in memory)", run)
