"""From an input to the answer of a worker that repeats it (`cat`), as an observer sees it."""

from __future__ import annotations

import time

import bare
from report import Case, Measured, Row, Scale, interleaved, latencies
from serving import Server, serving


def run(scale: Scale) -> list[Row]:
    """One input after the other; the next one when the last was seen."""
    count = scale.of(300, 20)
    with serving() as server:
        seen = interleaved(
            scale.repetitions,
            {
                "served": lambda: _served(server, count),
                "bare": lambda: latencies(bare.echoes_s(count, b"echo 000000\n")),
            },
        )
    return [
        Row(f"input to its echo, {name}", "ms", seen["served"][name], seen["bare"][name])
        for name in ("p50", "p99")
    ]


def _served(server: Server, count: int) -> Measured:
    taken: list[float] = []
    with server.connect() as connection:
        worker_id = connection.create("cat")
        path = f"/v1/workers/{worker_id}/input"
        with server.observe(worker_id) as feed:
            for number in range(count):
                said = f"echo {number:06d}"
                began = time.perf_counter()
                connection.begin("POST", path, {"content": said})
                feed.wait_for(f'"text_delta","data":{{"text":"{said}'.encode())
                taken.append(time.perf_counter() - began)
                connection.finish()
        connection.request("POST", f"/v1/workers/{worker_id}/cancel")
    return latencies(taken)


CASE = Case("echo", "An input and its echo", run)
