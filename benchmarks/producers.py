"""Tasks that append one event after the other, to any log or to what stands for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import references
from report import Measured

from watchglass.protocol.events import Event
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.base import Record, Retention
from watchglass.store.worker_record import WorkerRecord

EVENT = Event("tick", {"text": "w" * 65})
"""250 bytes as an envelope of a worker whose id has a generated one's length."""
EVERYTHING = Retention(max_bytes=1 << 50, max_events=1 << 50)

Append = Callable[[], Awaitable[object]]


def worker_id(number: int) -> str:
    """As long as a generated one."""
    return f"wk-bench-{number:015d}"


def passive_record(number: int) -> WorkerRecord:
    """A worker without a process."""
    return WorkerRecord(
        worker_id=worker_id(number), created_us=number, request=CreateWorkerRequest(), plan=None
    )


def nobody(_records: Sequence[Record], _events: Sequence[Event]) -> None:
    """Nobody looks at what becomes visible."""


async def produced(appends: Sequence[Append], count: int, *, suspends: bool = False) -> Measured:
    """Each appends its share of `count`, the next when the last has returned, and takes turns.

    `suspends`: an append waits for the loop itself. One that does not is followed by a turn of the loop.
    """
    taken: list[float] = []
    share = max(1, count // len(appends))
    began, began_cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for append in appends:
            group.create_task(_append_some(append, share, taken, suspends=suspends))
    taken_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    return references.measured(share * len(appends), taken_s, taken, cpu_s)


async def _append_some(append: Append, count: int, taken: list[float], *, suspends: bool) -> None:
    for _ in range(count):
        began = time.perf_counter()
        await append()
        taken.append(time.perf_counter() - began)
        if not suspends:
            await asyncio.sleep(0)
