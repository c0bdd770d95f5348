"""How long a runtime takes to come back over what it left.

Ended workers cost a file each, whatever they said, in a process that has imported
all it needs, and in the whole start of a server; passive ones that live cost
the end of their log, whatever its length; live processes an answer of their
supervisors. The reference reads and decodes every worker's record, or only
starts a server that has nothing to come back to.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from disk import settle
from filling import fill_ended, fill_live
from report import Case, Measured, Row, Scale, Spread, Target, interleaved
from serving import Server, end, start

OPEN_S_MAX = 120
OPENING = Path(__file__).resolve().parent.parent / "opening.py"
ADOPTED = 20


def run(scale: Scale) -> list[Row]:
    """Stores that were closed, and a server that was killed."""
    ended = [(scale.of(1_000, 20), 1_000), (scale.of(10_000, 40), 1_000)]
    few, many = scale.of(10, 2), scale.of(40, 4)
    live = [(few, 1_000), (few, scale.of(100_000, 2_000)), (many, 1_000)]
    ways: dict[str, Callable[[], Measured]] = {}
    for workers, events in ended:
        root = scale.directory / f"ended-{workers}"
        fill_ended(root, workers, events)
        ways[f"ended {workers}"] = partial(_opened, root, workers)
        ways[f"records {workers}"] = partial(_records_read, root, workers)
        ways[f"served {workers}"] = partial(_served, scale.directory, root, workers)
    for workers, events in live:
        root = scale.directory / f"live-{workers}-{events}"
        fill_live(root, workers, events)
        ways[f"live {workers} {events}"] = partial(_opened, root, workers)
    settle()
    ways["adopted"] = partial(_adopted, scale.directory, scale.of(ADOPTED, 3))
    ways["nobody"] = partial(_adopted, scale.directory, 0)
    seen = interleaved(scale.repetitions, ways)
    return [
        *(row for place, each in enumerate(ended) for row in _ended_rows(*each, seen, last=place == 1)),
        *(row for each in live for row in _live_rows(*each, seen)),
        Row(f"`serve` after kill -9 with {scale.of(ADOPTED, 3)} live processes, from its start until it "
            "listens and has adopted them; with none", "s", seen["adopted"]["s"], seen["nobody"]["s"]),
    ]  # fmt: skip


def _ended_rows(workers: int, events: int, seen: dict[str, dict[str, Spread]], *, last: bool) -> list[Row]:
    ours, records = seen[f"ended {workers}"], seen[f"records {workers}"]
    of = f"{workers:,} ended workers, {workers * events:,} events"
    return [
        Row(f"open the store and the runtime, {of}", "s", ours["open_s"], records["s"],
            Target("≤", 3) if last else None),
        Row(f"of that, the store, {of}", "s", ours["store_s"]),
        Row(f"processor time of it, {of}", "s", ours["cpu_s"], records["cpu_s"]),
        Row(f"memory that it takes, {of}", "MiB RSS", ours["rss_mib"]),
        Row(f"`serve`, from the start of its process until `/readyz` answers, {of}", "s",
            seen[f"served {workers}"]["s"]),
    ]  # fmt: skip


def _live_rows(workers: int, events: int, seen: dict[str, dict[str, Spread]]) -> list[Row]:
    ours = seen[f"live {workers} {events}"]
    of = f"{workers} live passive workers, {events:,} events each"
    return [
        Row(f"open the store and the runtime, {of}", "s", ours["open_s"]),
        Row(f"processor time of it, {of}", "s", ours["cpu_s"]),
    ]


def _opened(root: Path, workers: int) -> Measured:
    opened = subprocess.run(
        [sys.executable, str(OPENING), str(root)], capture_output=True, check=True, timeout=OPEN_S_MAX
    )
    measured: dict[str, float] = orjson.loads(opened.stdout)
    if measured["workers"] != workers:
        raise RuntimeError(f"{workers} workers were kept and {measured['workers']} came back")
    return measured


def _records_read(root: Path, workers: int) -> Measured:
    began, began_cpu = time.perf_counter(), time.process_time()
    (directory,) = root.glob("runtimes/*/workers")
    records = [orjson.loads((each / "worker.json").read_bytes()) for each in directory.iterdir()]
    assert len(records) == workers
    return {"s": time.perf_counter() - began, "cpu_s": time.process_time() - began_cpu}


def _served(directory: Path, root: Path, workers: int) -> Measured:
    """All of a start: the interpreter, the imports and the spawn daemon too."""
    with TemporaryDirectory(dir=directory) as state:
        began = time.perf_counter()
        server, process = start(Path(state), "--store", "fs", "--fs-root", str(root))
        try:
            with server.connect() as connection:
                connection.request("GET", "/readyz")
                taken_s = time.perf_counter() - began
                known = connection.request("GET", "/v1/runtime")["runtime"]["worker_count"]
        finally:
            end(process)
    if known != workers:
        raise RuntimeError(f"{workers} workers were kept and {known} came back")
    return {"s": taken_s}


def _adopted(directory: Path, workers: int) -> Measured:
    """Kill a server whose workers live, and start the next one on the same files."""
    with TemporaryDirectory(dir=directory) as root, TemporaryDirectory(dir=directory) as state:
        flags = ("--store", "fs", "--fs-root", root)
        server, process = start(Path(state), *flags)
        try:
            with server.connect() as connection:
                for _ in range(workers):
                    connection.create("cat")
            process.kill()
            process.wait()
            began = time.perf_counter()
            server, process = start(Path(state), *flags)
            active = _active(server)
            taken_s = time.perf_counter() - began
        finally:
            end(process)
    if active != workers:
        raise RuntimeError(f"{workers} workers were left alive and {active} were adopted")
    return {"s": taken_s}


def _active(server: Server) -> int:
    with server.connect() as connection:
        return int(connection.request("GET", "/v1/runtime")["runtime"]["active_worker_count"])


CASE = Case(
    "restart", "Coming back over what was left (reference: reading the records; what the row names)", run
)
