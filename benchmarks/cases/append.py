"""What the journal in memory costs, without processes and without a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import orjson
from report import Case, Measured, Row, Scale, interleaved, percentile

from watchglass.protocol.events import Event
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.base import Log
from watchglass.store.memory import open_memory_store
from watchglass.store.worker_record import WorkerRecord

EVENT = Event("tick", {"text": "w" * 130})  # 250 bytes as an envelope.


def run(scale: Scale) -> list[Row]:
    """One event an append, by tasks that take turns; and bare encoding into a list."""
    count = scale.of(96_000, 3_200)
    producers = (1, 16)
    ways: dict[str, Callable[[], Measured]] = {
        str(tasks): partial(_run_appended, count, tasks) for tasks in producers
    }
    seen = interleaved(scale.repetitions, {**ways, "list": lambda: _listed(count)})
    rows: list[Row] = []
    for tasks in producers:
        by = f"append by {tasks} producer{'s' if tasks > 1 else ''}"
        rows += [
            Row(by, "events a second", seen[str(tasks)]["rate"], seen["list"]["rate"]),
            Row(f"{by}, p50", "µs", seen[str(tasks)]["p50"]),
            Row(f"{by}, p99", "µs", seen[str(tasks)]["p99"]),
        ]
    return rows


def _run_appended(count: int, tasks: int) -> Measured:
    return asyncio.run(_appended(count, tasks))


async def _appended(count: int, tasks: int) -> Measured:
    taken: list[float] = []
    async with open_memory_store() as store:
        record = WorkerRecord(worker_id="bench", created_us=0, request=CreateWorkerRequest(), plan=None)
        log = await store.create(record, lambda _records, _events: None)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(_append_some(log, count // tasks, taken))
        rate = count / (time.perf_counter() - began)
    return {"rate": rate, "p50": 1e6 * percentile(taken, 50), "p99": 1e6 * percentile(taken, 99)}


async def _append_some(log: Log, count: int, taken: list[float]) -> None:
    for _ in range(count):
        began = time.perf_counter()
        await log.append([EVENT])
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(0)


def _listed(count: int) -> Measured:
    kept: list[bytes] = []
    name, data = EVENT
    began = time.perf_counter()
    for number in range(count):
        kept.append(  # noqa: PERF401 - it stands for one append a call.
            orjson.dumps({"cursor": f"wo_{number:016x}", "payload": {"event": name, "data": data}})
        )
    return {"rate": count / (time.perf_counter() - began)}


CASE = Case("append", "The journal in memory, embedded (bare: encode and append to a list)", run)
