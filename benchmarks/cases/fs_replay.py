"""A whole log, read again from its files in the order of its events.

The files are in the system's memory, as those of a log are that was just
written. The reference believes what it reads and joins bare texts; `Log.read`
verifies every byte, its records have their sequences, and its frames their headers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from filling import fill_log
from producers import EVERYTHING, nobody
from report import Case, Measured, Row, Scale, Target, interleaved

from watchglass.protocol.cursor import BEGINNING
from watchglass.store.filesystem import open_filesystem_store

CHUNK_BYTES = 1 << 20
APPEND_EVENTS = (1, 64)
_EVENT_BYTE = ord("u")  # Of `{"cursor":…`; a commit line has another fourth byte.


def run(scale: Scale) -> list[Row]:
    """By appends of one event and of many; as records, and as the frames of a feed, joined by the read."""
    events = scale.of(400_000, 8_000)
    ways: dict[str, Callable[[], Measured]] = {}
    for each in APPEND_EVENTS:
        root = scale.directory / f"replay-{each}"
        worker_id = fill_log(root, events, append_events=each)
        for frames in (False, True):
            ways[f"ours {each} {frames}"] = partial(_ours, root, worker_id, events, frames=frames)
            ways[f"raw {each} {frames}"] = partial(_raw, root, events, frames=frames)
    seen = interleaved(scale.repetitions, ways)
    rows: list[Row] = []
    for each in APPEND_EVENTS:
        for frames, what in ((False, "records"), (True, "frames")):
            ours, raw = seen[f"ours {each} {frames}"], seen[f"raw {each} {frames}"]
            of = f"{what}, {each} event{'s' if each > 1 else ''} an append"
            rows += [
                Row(f"replay, {of}", "events a second", ours["rate"], raw["rate"], Target("≥", 1_300_000)),
                Row(f"replay, {of}, processor time of an event", "µs", ours["cpu_us"], raw["cpu_us"]),
            ]
    return rows


def _ours(root: Path, worker_id: str, events: int, *, frames: bool) -> Measured:
    async def replay() -> Measured:
        async with open_filesystem_store(root, retention=EVERYTHING) as store:
            log = await store.open(worker_id, nobody)
            began, began_cpu = time.perf_counter(), time.process_time()
            count, after = 0, BEGINNING
            while run := await log.read(after=after):
                after = run.last
                if frames:
                    run.frames()
                    count += len(run)
                else:
                    for _record in run:
                        count += 1
            return _measured(events, count, began, began_cpu)

    return asyncio.run(replay())


def _raw(root: Path, events: int, *, frames: bool) -> Measured:
    paths = sorted(root.glob("runtimes/*/workers/*/events/*.jsonl"))
    began, began_cpu = time.perf_counter(), time.process_time()
    count = 0
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        offset, rest = 0, b""
        while chunk := os.pread(fd, CHUNK_BYTES, offset):
            offset += len(chunk)
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            events_only = [line for line in lines if line[3] == _EVENT_BYTE]
            count += len(events_only)
            if frames:
                b"".join([b'{"kind":"event","envelope":%b}' % line for line in events_only])
        os.close(fd)
    return _measured(events, count, began, began_cpu)


def _measured(events: int, count: int, began: float, began_cpu: float) -> Measured:
    taken_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    if count != events:
        raise RuntimeError(f"{events} events were written and {count} were read")
    return {"rate": events / taken_s, "cpu_us": 1e6 * cpu_s / events}


CASE = Case("fs_replay", "Replaying a log from its files (reference: reads of 1 MiB and split)", run)
