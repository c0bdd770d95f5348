"""Commands on one session, many under way, and the same over HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import host
from backend import Backend, frame
from report import Case, Measured, Row, Scale, Spread, Target, interleaved
from serving import Connection, Server, serving

WINDOW = 64
WORKERS = 64
RATE = 10_000
EVENT = {"event": "text_delta", "data": {"text": "w" * 40}}
TASK = {"execution": {"kind": "command", "program": "true"}}
WAIT_MS = 30_000

Make = Callable[[int], tuple[str, dict[str, object]]]
Ask = Callable[[Connection, int], object]


def run(scale: Scale) -> list[Row]:
    """Kind after kind; the client has a core of its own."""
    ours, theirs = host.cores()
    os.sched_setaffinity(0, {theirs})
    try:
        rows: list[Row] = []
        for store in ("memory", "fs"):
            with (
                serving(f"--store={store}", core=ours) as server,
                server.connect() as http,
                Backend(server) as backend,
            ):
                rows += _commands(scale, server, http, backend, store)
                if store == "memory":
                    rows += _tasks(scale, server, http, backend)
        return rows
    finally:
        os.sched_setaffinity(0, {ours, theirs})


def _commands(scale: Scale, server: Server, http: Connection, backend: Backend, store: str) -> list[Row]:
    for number in range(WORKERS):
        http.request("POST", "/v1/workers", {"worker_id": f"w{number}"})
    kinds: dict[str, tuple[Make, Ask]] = {
        "events appended": (
            lambda n: ("workers.append_events", {"worker_id": f"w{n % WORKERS}", "events": [EVENT]}),
            lambda c, n: c.request("POST", f"/v1/workers/w{n % WORKERS}/events", {"events": [EVENT]}),
        ),
        "inputs": (
            lambda n: ("workers.input", {"worker_id": f"w{n % WORKERS}", "content": f"say {n}"}),
            lambda c, n: c.request("POST", f"/v1/workers/w{n % WORKERS}/input", {"content": f"say {n}"}),
        ),
    }
    if store == "memory":
        kinds |= {
            "workers shown": (
                lambda n: ("workers.get", {"worker_id": f"w{n % WORKERS}"}),
                lambda c, n: c.request("GET", f"/v1/workers/w{n % WORKERS}"),
            ),
            "the runtime shown": (
                lambda _: ("runtime.get", {}),
                lambda c, _: c.request("GET", "/v1/runtime"),
            ),
        }
    rows: list[Row] = []
    for what, (make, ask) in kinds.items():
        asked = map(make, range(scale.of(20_000, 200)))
        requests = [frame(method, number, **params) for number, (method, params) in enumerate(asked)]
        seen = interleaved(
            scale.repetitions,
            {
                "session": partial(_piped, server, backend, requests),
                "http": partial(_asked, server, http, scale.of(1000, 20), ask),
            },
        )
        rows += _rows(f"{what}, {store} store", seen, Target("≥", RATE) if store == "memory" else None)
    return rows


def _tasks(scale: Scale, server: Server, http: Connection, backend: Backend) -> list[Row]:
    count = scale.of(200, 5)

    def over_session() -> None:
        for _ in range(count):
            task_id = backend.ask("tasks.submit", **TASK)["task_id"]
            backend.ask("tasks.get", task_id=task_id, wait_ms=WAIT_MS)

    def ask(connection: Connection, _: int) -> None:
        task_id = connection.request("POST", "/api/v1/tasks", TASK)["task_id"]
        connection.request("GET", f"/api/v1/tasks/{task_id}?wait_ms={WAIT_MS}")

    seen = interleaved(
        scale.repetitions,
        {
            "session": lambda: _measured(server, count, over_session),
            "http": lambda: _asked(server, http, count, ask),
        },
    )
    return _rows("tasks of `true`, one after the other", seen, None)


def _rows(what: str, seen: Mapping[str, Mapping[str, Spread]], target: Target | None) -> list[Row]:
    session, http = seen["session"], seen["http"]
    return [
        Row(what, "commands a second", session["rate"], http["rate"], target),
        Row(f"{what}, the server's processor time of each", "µs", session["cpu"], http["cpu"]),
    ]


def _piped(server: Server, backend: Backend, requests: Sequence[bytes]) -> Measured:
    return _measured(server, len(requests), lambda: backend.pipeline(requests, WINDOW))


def _asked(server: Server, connection: Connection, count: int, ask: Ask) -> Measured:
    def all_of_them() -> None:
        for number in range(count):
            ask(connection, number)

    return _measured(server, count, all_of_them)


def _measured(server: Server, count: int, act: Callable[[], None]) -> Measured:
    began, began_cpu_s = time.perf_counter(), host.cpu_s(server.pid)
    act()
    taken_s, cpu_s = time.perf_counter() - began, host.cpu_s(server.pid) - began_cpu_s
    return {"rate": count / taken_s, "cpu": 1e6 * cpu_s / count}


CASE = Case("session", "Commands on one session, 64 under way (reference: one connection over HTTP)", run)
