"""A worker that writes for long: the server keeps a window of it, not all of it."""

from __future__ import annotations

import time

import bare
from host import MIB, forget_peak_rss, peak_rss_bytes, rss_bytes
from report import Case, Measured, Row, Scale, Target, interleaved
from serving import serving

LINE = "a line of a very long story that nobody reads to its end, because it has none: " + "w" * 40


def run(scale: Scale) -> list[Row]:
    """Bytes through a worker that nobody watches, with the default retention (32 MiB of events)."""
    size = scale.of(1 << 30, 16 << 20)
    argv = ("sh", "-c", f"yes '{LINE}' | head -c {size}")
    seen = interleaved(
        scale.repetitions, {"served": lambda: _served(argv, size), "bare": lambda: _bare(argv)}
    )
    served = seen["served"]
    return [
        Row(f"{size >> 20} MiB through a worker", "MB a second", served["rate"], seen["bare"]["rate"]),
        Row("server before", "MiB RSS", served["before"]),
        Row("server at its peak", "MiB RSS", served["peak"], target=Target("≤", 128)),
        Row("server after", "MiB RSS", served["after"]),
    ]


def _served(argv: tuple[str, ...], size: int) -> Measured:
    with serving() as server, server.connect() as connection:
        connection.create("true")
        connection.wait_all_ended()
        before = rss_bytes(server.pid)
        forget_peak_rss(server.pid)
        began = time.perf_counter()
        worker_id = connection.create(*argv)
        connection.wait_all_ended()
        taken_s = time.perf_counter() - began
        after = rss_bytes(server.pid)
        peak = peak_rss_bytes(server.pid)
        assert connection.request("GET", f"/v1/workers/{worker_id}")["worker"]["exit"]["code"] == 0
    return {
        "rate": size / taken_s / 1e6,
        "before": before / MIB,
        "peak": peak / MIB,
        "after": after / MIB,
    }


def _bare(argv: tuple[str, ...]) -> Measured:
    _, size, taken_s = bare.read_all(argv)
    return {"rate": size / taken_s / 1e6}


CASE = Case("long_writer", "A long writer", run)
