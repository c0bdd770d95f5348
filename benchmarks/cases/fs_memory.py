"""Memory while events come and come: it must not follow their number.

A real server with the default retention, whose workers say ten million events;
and a store by itself that drops nothing, so its files grow. What stays is
compared with what there was after the first tenth, when caches and bounds are
full. This takes minutes, so it is done once, whatever the repetitions.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from host import MIB, cpu_s, forget_peak_rss, peak_rss_bytes, rss_bytes
from report import Case, Measured, Row, Scale, Target, interleaved
from serving import Connection, serving

from .chatty import jsonl_line

APPENDING = Path(__file__).resolve().parent.parent / "appending.py"
APPEND_S_MAX = 600
SPEAK_S_MAX = 600
SPEAKERS = 4
FILE_LINES = 2_500
FLAT_MIB = 8


def run(scale: Scale) -> list[Row]:
    """A server, and a store that keeps everything."""
    events, kept = scale.of(10_000_000, 100_000), scale.of(3_000_000, 60_000)
    seen = interleaved(
        1,
        {
            "server": lambda: _served(scale.directory, events),
            "store": lambda: _kept(scale.directory, kept),
        },
    )
    server, store = seen["server"], seen["store"]
    return [
        Row(f"server, default retention: {events:,} events by {SPEAKERS} workers", "events a second",
            server["rate"]),
        Row("server, processor time of an event", "µs", server["cpu_us"]),
        Row("server, after the first tenth", "MiB RSS", server["first"]),
        Row("server, at its peak after that", "MiB RSS", server["peak"]),
        Row("server, growth from the first tenth to the end", "MiB RSS", server["growth"],
            target=Target("≤", FLAT_MIB)),
        Row(f"store without retention: {kept:,} events, 64 an append", "events a second", store["rate"]),
        Row("store, after the first tenth", "MiB RSS", store["first"]),
        Row("store, growth from the first tenth to the end", "MiB RSS", store["growth"],
            target=Target("≤", FLAT_MIB)),
    ]  # fmt: skip


def _served(directory: Path, events: int) -> Measured:
    tenth = events // 10
    with TemporaryDirectory(dir=directory) as root:
        said = Path(root) / "said.jsonl"
        said.write_bytes(jsonl_line * FILE_LINES)
        with (
            serving("--store", "fs", "--fs-root", f"{root}/store", "--no-keep-workers") as server,
            server.connect() as connection,
        ):
            _speak(connection, said, tenth)
            first = rss_bytes(server.pid)
            forget_peak_rss(server.pid)
            began, began_cpu_s = time.perf_counter(), cpu_s(server.pid)
            _speak(connection, said, events - tenth)
            taken_s, used_s = time.perf_counter() - began, cpu_s(server.pid) - began_cpu_s
            last, peak = rss_bytes(server.pid), peak_rss_bytes(server.pid)
    return {
        "rate": (events - tenth) / taken_s,
        "cpu_us": 1e6 * used_s / (events - tenth),
        "first": first / MIB,
        "peak": peak / MIB,
        "growth": (last - first) / MIB,
    }


def _speak(connection: Connection, said: Path, events: int) -> None:
    """Workers that say so many events together; they are forgotten when they have ended."""
    times = max(1, events // SPEAKERS // FILE_LINES)
    command = f"i=0; while [ $i -lt {times} ]; do cat {said}; i=$((i + 1)); done"
    workers = [connection.create("sh", "-c", command, speech="jsonl") for _ in range(SPEAKERS)]
    connection.wait_all_ended(SPEAK_S_MAX)
    for worker_id in workers:
        connection.request("DELETE", f"/v1/workers/{worker_id}")


def _kept(directory: Path, events: int) -> Measured:
    with TemporaryDirectory(dir=directory) as root:
        done = subprocess.run(
            [sys.executable, str(APPENDING), root, str(events)],
            capture_output=True,
            check=True,
            timeout=APPEND_S_MAX,
        )
    measured: dict[str, float] = orjson.loads(done.stdout)
    return {**measured, "growth": measured["last"] - measured["first"]}


CASE = Case("fs_memory", "Memory under ten million events", run)
