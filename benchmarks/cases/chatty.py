"""A worker that never stops talking, and one observer.

The server's process has one core and the observer the other; the worker and its
supervisor run where there is room. The observer counts frames by their lengths.
All that is said in one pass fits into the default retention, so nothing expires
however far the observer is behind; the first pass, in which the server's memory
grows, is not counted.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import bare
import orjson
import websocketd
from host import cores, cpu_s, on_core, spawn_daemon
from report import Case, Measured, Row, Scale, Spread, Target, interleaved
from serving import Connection, Server, serving

PASSES = 4
JSONL_LINE_BYTES = 250
TEXT_LINE_BYTES = 100


def run(scale: Scale) -> list[Row]:
    """Text by the line, and one event a line."""
    server_core, client_core = cores()
    with (
        _spoken(_text_line, scale.of(300_000, 20_000)) as text,
        _spoken(jsonl_line, scale.of(75_000, 2_000)) as jsonl,
        _spoken(_text_line, scale.of(75_000, 2_000)) as some_text,
        serving(core=server_core) as server,
    ):
        free_workers(server)
        passes = scale.of(PASSES, 1)
        with on_core(client_core):
            _served(server, jsonl, "jsonl", 1)
            _served(server, text, "text", 1)
            ways: dict[str, Callable[[], Measured]] = {
                "text": lambda: _served(server, text, "text", passes),
                "text bare": lambda: _bare(text),
                "jsonl": lambda: _served(server, jsonl, "jsonl", passes),
                "jsonl bare": lambda: _bare(jsonl),
            }
            if websocketd.is_here():
                beside = partial(_by_websocketd, server_core, client_core)
                ways |= {
                    "text websocketd": partial(beside, some_text),
                    "jsonl websocketd": partial(beside, jsonl),
                }
            seen = interleaved(scale.repetitions, ways)
    return [
        Row(f"speech text, {TEXT_LINE_BYTES}-byte lines", "lines a second",
            seen["text"]["lines"], seen["text bare"]["lines"], Target("≥", 174_000)),
        Row("speech text", "MB a second", seen["text"]["megabytes"], seen["text bare"]["megabytes"]),
        Row(f"speech jsonl, {JSONL_LINE_BYTES}-byte events, one frame each", "events a second",
            seen["jsonl"]["lines"], seen["jsonl bare"]["lines"]),
        Row("speech jsonl, the server's processor time for an event", "µs", seen["jsonl"]["cpu_us"]),
        *_rows_beside_websocketd(seen),
    ]  # fmt: skip


def _rows_beside_websocketd(seen: dict[str, dict[str, Spread]]) -> Iterator[Row]:
    there = "text websocketd" in seen
    beside = "websocketd, a frame each" if there else "websocketd is absent here"
    for speech, what, target in (
        ("text", f"speech text, {TEXT_LINE_BYTES}-byte lines", Target("≥", 3, of_reference=True)),
        ("jsonl", f"speech jsonl, {JSONL_LINE_BYTES}-byte events, one frame each", None),
    ):
        reference = seen[f"{speech} websocketd"]["lines"] if there else None
        yield Row(
            f"{what}; {beside}", "lines a second", seen[speech]["lines"], reference, target if there else None
        )


def free_workers(server: Server) -> None:
    """Let what the server starts use every core, wherever the server itself is held."""
    with server.connect() as connection:
        connection.create("true")
        connection.wait_all_ended()
    os.sched_setaffinity(spawn_daemon(server.pid), os.sched_getaffinity(0))


def _served(server: Server, argv: Sequence[str], speech: str, passes: int) -> Measured:
    said = Path(argv[-1])
    lines, size = said.read_bytes().count(b"\n"), said.stat().st_size
    with server.connect() as connection:
        before_s = cpu_s(server.pid)
        taken_s = sum(_pass_s(server, connection, argv, speech, lines) for _ in range(passes))
        used_s = cpu_s(server.pid) - before_s
    return {
        "lines": passes * lines / taken_s,
        "megabytes": passes * size / taken_s / 1e6,
        "cpu_us": 1e6 * used_s / (passes * lines),
    }


def _pass_s(server: Server, connection: Connection, argv: Sequence[str], speech: str, lines: int) -> float:
    """From asking for the worker to its last event at the observer; then it is forgotten."""
    began = time.perf_counter()
    worker_id = connection.create(*argv, speech=speech)
    with server.observe(worker_id) as feed:
        frames, _ = feed.count_to_end()
    taken_s = time.perf_counter() - began
    if speech == "jsonl" and frames < lines:
        raise RuntimeError(f"{lines} events were said and {frames} frames came")
    connection.request("DELETE", f"/v1/workers/{worker_id}")
    return taken_s


def _by_websocketd(core: int, client_core: int, argv: Sequence[str]) -> Measured:
    lines = Path(argv[-1]).read_bytes().count(b"\n")
    with websocketd.websocketd(argv, core, [client_core]) as port:
        return {"lines": lines / websocketd.lines_s(port, lines)}


def _bare(argv: Sequence[str]) -> Measured:
    lines, size, taken_s = bare.read_all(argv)
    return {"lines": lines / taken_s, "megabytes": size / taken_s / 1e6}


@contextmanager
def _spoken(line: bytes, count: int) -> Iterator[Sequence[str]]:
    """The command of a worker that says a line so many times, as fast as a pipe takes it."""
    with tempfile.NamedTemporaryFile(prefix="watchglass-bench-") as file:
        file.write(line * count)
        file.flush()
        yield ["cat", file.name]


def _padded(around: bytes, size: int) -> bytes:
    return around.replace(b"~", b"w" * (size - len(around) - 1)) + b"\n"


_text_line = _padded(b"a line of output: ~", TEXT_LINE_BYTES)
jsonl_line = _padded(orjson.dumps({"event": "text_delta", "data": {"text": "a piece: ~"}}), JSONL_LINE_BYTES)

CASE = Case("chatty", "One chatty worker, one observer", run)
