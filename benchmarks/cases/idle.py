"""What a runtime takes while its workers are idle, and what it takes to find out about its host.

The budget of the second kind of worker is of what the kernel counts and somebody has
to look at: the processor time of a tree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial

from host import allow_open_files, children, running_s, spawn_daemon
from report import Case, Measured, Row, Scale, Target, interleaved
from serving import serving

from watchglass.runtime.executor import open_executor

BUDGETS: Mapping[str, Mapping[str, object]] = {
    "without limits": {},
    "with 20 s of processor time": {"limits": {"cpu_time_sec": 20}},
}


def run(scale: Scale) -> list[Row]:
    """Some seconds of nothing, for each kind of worker; and probes."""
    allow_open_files()
    count = scale.of(300, 8)
    quiet_s = scale.of(10, 1)
    ways = {budget: partial(_idle, dict(told), count, quiet_s) for budget, told in BUDGETS.items()}
    seen = interleaved(scale.repetitions, {**ways, "probe": _probe})
    rows = [
        Row(
            f"{count} idle workers {budget}: {whose}",
            "% of a core",
            seen[budget][whose],
            target=Target("≤", 2) if whose == "all of it" else None,
        )
        for budget in BUDGETS
        for whose in ("the server", "all of it")
    ]
    return [*rows, Row("a probe of the host", "ms", seen["probe"]["ms"], target=Target("≤", 500))]


def _idle(budget: Mapping[str, object], count: int, quiet_s: int) -> Measured:
    with serving(f"--max-workers={count}") as server, server.connect() as connection:
        for _ in range(count):
            connection.create("sleep", "1000", **budget)
        daemon = spawn_daemon(server.pid)
        supervisors = children(daemon)
        assert len(supervisors) == count
        others = [daemon, *supervisors]
        began, began_server = time.monotonic(), running_s(server.pid)
        began_others = sum(map(running_s, others))
        time.sleep(quiet_s)  # The quiet is what is measured.
        passed = time.monotonic() - began
        served = running_s(server.pid) - began_server
        supervised = sum(map(running_s, others)) - began_others
    return {"the server": 100 * served / passed, "all of it": 100 * (served + supervised) / passed}


def _probe() -> Measured:
    return {"ms": 1000 * asyncio.run(_probed_s())}


async def _probed_s() -> float:
    async with open_executor() as executor:
        began = time.perf_counter()
        await executor.probe()
        return time.perf_counter() - began


CASE = Case("idle", "A runtime at rest", run)
