"""A store to be damaged: built by the real store, copied for each test, and read back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreFault
from watchglass.protocol.lifecycle import Phase, Wanted
from watchglass.protocol.workers import WorkerExit
from watchglass.store.base import Log, Record, Retention, StreamOffsets
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.checking import check_runtime
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.inspection import RuntimeCheck
from watchglass.store.filesystem.repairing import Repair, repair_runtime
from watchglass.store.worker_record import WorkerEnd

from support.failing_files import FailingFiles
from support.stores import nobody, read_all, record_of, said

ROLLED = Retention(max_bytes=8 * 2400, max_events=10_000)
"""Segments of 2400 bytes."""
KEPT = Retention(max_bytes=1 << 30, max_events=1 << 30)


class Ticking:
    """A clock that goes on by 50 µs whenever it is asked."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        self.now_us += 50
        return self.now_us


CLOCK = Ticking()


@dataclass(frozen=True)
class Built:
    """A runtime's directory, and every append in it by its worker (`runtime`: the runtime's own)."""

    path: Path
    appends: Mapping[str, list[Sequence[Record]]]

    @property
    def segments(self) -> Sequence[Path]:
        return sorted(self.path.glob("workers/*/events/*.jsonl"))


async def _build(root: Path, *, killed: bool) -> Built:
    built = await _closed(root)
    if killed:
        with suppress(StoreFault):  # It dies before it closes.
            await _go_on(built)
    return built


async def _go_on(built: Built) -> None:
    files = FailingFiles()
    root = built.path.parent.parent
    async with open_filesystem_store(
        root, retention=ROLLED, clock_us=CLOCK, settle_s=3600, files=files
    ) as store:
        logs = {name: await store.open(name, nobody) for name in "ab"} | {"runtime": store.runtime_log}
        for number in range(2):
            for name, log in logs.items():
                records = await log.append(said(f"{name} last {number} {'x' * 90}"), durable=True)
                built.appends[name].append(records)
            if number == 0:
                await store.save(record_of("a").model_copy(update={"wanted": Wanted.DOWN}))
        files.dead = True


async def _closed(root: Path) -> Built:
    appends: dict[str, list[Sequence[Record]]] = {}
    async with open_filesystem_store(
        root, "rt", retention=ROLLED, clock_us=CLOCK, settle_s=3600, files=FailingFiles()
    ) as store:

        async def append(log: Log, name: str, count: int, *, durable: bool = False, io: bool = False) -> None:
            number = len(appends.setdefault(name, []))
            texts = [f"{name} {number}.{place} {'x' * 90}" for place in range(count)]
            offsets = StreamOffsets(number, 3 * number, 0) if io else None
            appends[name].append(await log.append(said(*texts), durable=durable, offsets=offsets))

        await append(store.runtime_log, "runtime", 1, durable=True)
        logs = {name: await store.create(record_of(name, at), nobody) for at, name in enumerate("abc")}
        for number in range(16):
            for name, log in logs.items():
                if name == "a" or number < 6:
                    await append(log, name, 1 + number % 2, durable=number % 5 == 4, io=number % 3 == 0)
        end = WorkerEnd(
            phase=Phase.STOPPED,
            started_us=1,
            finished_us=2,
            exit=WorkerExit(code=0, signal=None, reason="exited"),
            usage=None,
            transcript_len=1,
        )
        await store.save(record_of("c", 2).model_copy(update={"end": end}))
        await append(store.runtime_log, "runtime", 2, durable=True)
        await store.settle()
    return Built(store.path, appends)


def build(root: Path, *, killed: bool = False) -> Built:
    """Three workers: `a` has several segments, `c` has ended; `killed`: there is a write-ahead file."""
    return asyncio.run(_build(root, killed=killed))


def check(built: Built, **more: Any) -> RuntimeCheck:
    return check_runtime(built.path, **more)


def repair(built: Built, files: Files | None = None, **more: Any) -> Repair:
    return repair_runtime(built.path, CLOCK, files=files, **more)


async def _read(path: Path) -> tuple[dict[str, list[Record]], Sequence[Any]]:
    async with open_filesystem_store(
        path.parent.parent, path.name, retention=KEPT, clock_us=CLOCK, settle_s=3600, files=FailingFiles()
    ) as store:
        logs = {each.worker_id: await store.open(each.worker_id, nobody) for each in await store.load()}
        logs["runtime"] = store.runtime_log
        read = {name: await read_all(log, after=log.trimmed_through) for name, log in logs.items()}
        for log in logs.values():
            await log.append(said("goes on"), durable=True)
        return read, store.findings


def read_back(built: Built) -> tuple[dict[str, list[Record]], Sequence[Any]]:
    """What the real store reads of every log, and what it found when it was opened."""
    return asyncio.run(_read(built.path))


def is_alert(record: Record) -> bool:
    payload = orjson.loads(record.line)["payload"]
    return bool(payload["event"] == "alert" and payload["data"]["source"] == "store")


def flip(path: Path, offset: int, bit: int) -> None:
    """One bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def contents(path: Path) -> set[tuple[str, str]]:
    """The name and the digest of every file under a folder."""
    return {
        (file.name, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in path.rglob("*")
        if file.is_file() and file.name != "lock" and file.suffix != ".new"
    }


def appended_spans(segment: Path) -> list[tuple[int, int, list[Seq]]]:
    """Where each append of a healthy segment begins and ends, and its sequences."""
    spans: list[tuple[int, int, list[Seq]]] = []
    begin = end = 0
    seqs: list[Seq] = []
    for line in segment.read_bytes().splitlines(keepends=True):
        end += len(line)
        if line.startswith(b'{"cursor"'):
            seqs.append(Seq(int(line[14:30], 16)))
        else:
            spans.append((begin, end, seqs))
            begin, seqs = end, []
    return spans
