"""From asking for a worker to its first word, as somebody who watches sees it."""

from __future__ import annotations

import asyncio
import statistics
import time

import bare
from report import Case, Measured, Row, Scale, Target, interleaved
from serving import TIMEOUT_S, Connection, Server, serving

from watchglass.protocol.execution import ExecutionSpec
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.runtime import open_runtime

SAYS = ("echo", "ready")
SPOKEN = b'"text_delta"'


def run(scale: Scale) -> list[Row]:
    """Worker after worker, each watched from its beginning."""
    count = scale.of(60, 5)
    with serving() as server, server.connect() as connection:
        _served(server, connection, 2)  # The first launch starts the spawn daemon.
        seen = interleaved(
            scale.repetitions,
            {
                "served": lambda: _served(server, connection, count),
                "embedded": lambda: asyncio.run(_embedded(count)),
                "bare": lambda: {
                    "spoken": 1000 * statistics.median(bare.first_line_s(SAYS) for _ in range(count))
                },
            },
        )
    first_line = seen["bare"]["spoken"]
    return [
        Row("create to the first output over HTTP and WebSocket", "ms", seen["served"]["spoken"], first_line),
        Row("create answered: the program runs", "ms", seen["served"]["created"], target=Target("≤", 5.9)),
        Row("observer's connect to its snapshot", "ms", seen["served"]["snapshot"]),
        Row(
            "create to the first output, embedded runtime",
            "ms",
            seen["embedded"]["spoken"],
            first_line,
        ),
    ]


def _served(server: Server, connection: Connection, count: int) -> Measured:
    created: list[float] = []
    snapshot: list[float] = []
    spoken: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        worker_id = connection.create(*SAYS)
        answered = time.perf_counter()
        with server.observe(worker_id) as feed:
            joined = time.perf_counter()
            feed.wait_for(SPOKEN)
            spoken.append(time.perf_counter() - began)
        created.append(answered - began)
        snapshot.append(joined - answered)
    return {
        "created": 1000 * statistics.median(created),
        "snapshot": 1000 * statistics.median(snapshot),
        "spoken": 1000 * statistics.median(spoken),
    }


async def _embedded(count: int) -> Measured:
    request = CreateWorkerRequest(execution=ExecutionSpec(program=SAYS[0], args=list(SAYS[1:])))
    spoken: list[float] = []
    async with asyncio.timeout(TIMEOUT_S), open_runtime() as runtime:
        for _ in range(count + 1):
            began = time.perf_counter()
            worker = await runtime.create_worker(request)
            async with runtime.observe(worker.worker_id, "earliest") as reader:
                async for record in reader:
                    if SPOKEN in record.line:
                        break
            spoken.append(time.perf_counter() - began)
    return {"spoken": 1000 * statistics.median(spoken[1:])}  # The first one started the spawn daemon.


CASE = Case("create", "A new worker", run)
