"""How many short workers (`true`) come and go in a second, journals and all."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import bare
from report import Case, Measured, Row, Scale, interleaved
from serving import Connection, Server, serving

AT_ONCE = (1, 16)
PROGRAM = "true"


def run(scale: Scale) -> list[Row]:
    """By one client, and by many."""
    count = scale.of(320, 32)
    ways: dict[str, Callable[[], Measured]] = {}
    with serving() as server:
        for clients in AT_ONCE:
            ways[f"served {clients}"] = partial(_served, server, count, clients)
            ways[f"bare {clients}"] = partial(_bare, count, clients)
        seen = interleaved(scale.repetitions, ways)
    return [
        Row(
            f"workers created and ended, {clients} client{'s' if clients > 1 else ''}",
            "a second",
            seen[f"served {clients}"]["rate"],
            seen[f"bare {clients}"]["rate"],
        )
        for clients in AT_ONCE
    ]


def _served(server: Server, count: int, clients: int) -> Measured:
    def create_some(connection: Connection) -> None:
        for _ in range(count // clients):
            connection.create(PROGRAM)

    connections = [server.connect() for _ in range(clients)]
    try:
        with ThreadPoolExecutor(clients) as threads:
            began = time.perf_counter()
            list(threads.map(create_some, connections))
            connections[0].wait_all_ended()
            return {"rate": count / (time.perf_counter() - began)}
    finally:
        for connection in connections:
            connection.__exit__()


def _bare(count: int, at_once: int) -> Measured:
    return {"rate": bare.processes_per_s([PROGRAM], count, at_once)}


CASE = Case("worker_rate", "Short workers", run)
