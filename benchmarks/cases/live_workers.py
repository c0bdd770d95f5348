"""Hundreds of live workers with an observer each: all of them answer, and all of it fits."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from host import MIB, allow_open_files, children, pss_bytes, rss_bytes, spawn_daemon
from report import Case, Measured, Row, Scale, Target, interleaved, latencies
from serving import TIMEOUT_S, Connection, Feed, Server, serving

CLIENTS = 16


@dataclass(frozen=True, slots=True)
class Watched:
    """A worker and who watches it."""

    worker_id: str
    feed: Feed


def run(scale: Scale) -> list[Row]:
    """`cat`, many times; each is given something to repeat, by some clients at once."""
    allow_open_files()
    count = scale.of(300, 12)
    seen = interleaved(min(scale.repetitions, 3), {"live": lambda: _live(count, rounds=scale.of(5, 2))})[
        "live"
    ]
    return [
        Row(f"create {count} workers with an observer each, one client", "s", seen["created_s"]),
        Row(f"input to echo among {count}, {CLIENTS} clients, p50", "ms", seen["p50"]),
        Row(f"input to echo among {count}, {CLIENTS} clients, p99", "ms", seen["p99"]),
        Row(f"input to echo among {count}, {CLIENTS} clients, longest", "ms", seen["max"],
            target=Target("≤", 1000)),
        Row("all of them answered once", "s", seen["round_s"]),
        Row("memory: server", "MiB RSS", seen["server"]),
        Row("memory: supervisors and spawn daemon", "MiB PSS", seen["supervisors"]),
        Row("memory: workers", "MiB PSS", seen["workers"]),
        Row("memory: all of it", "MiB", seen["all"], target=Target("≤", 2048)),
    ]  # fmt: skip


def _live(count: int, rounds: int) -> Measured:
    with serving() as server, ExitStack() as left:
        clients = [left.enter_context(server.connect()) for _ in range(min(CLIENTS, count))]
        began = time.perf_counter()
        workers: list[Watched] = []
        for _ in range(count):
            worker_id = clients[0].create("cat")
            workers.append(Watched(worker_id, left.enter_context(server.observe(worker_id))))
        created_s = time.perf_counter() - began
        taken: list[float] = []
        rounds_s: list[float] = []
        for number in range(rounds):
            began = time.perf_counter()
            taken += _all_echo(workers, clients, f"round {number}")
            rounds_s.append(time.perf_counter() - began)
        memory = _memory(server, count)
    return {"created_s": created_s, "round_s": max(rounds_s), **latencies(taken), **memory}


def _all_echo(workers: Sequence[Watched], clients: Sequence[Connection], said: str) -> list[float]:
    """Say something to each worker, as many at a time as there are clients; how long each echo took."""
    mark = f'"text_delta","data":{{"text":"{said}'.encode()
    waiting = list(reversed(workers))
    asked: dict[int, tuple[Watched, Connection, float]] = {}
    taken: list[float] = []
    with select.epoll() as poll:

        def ask_next(client: Connection) -> None:
            worker = waiting.pop()
            poll.register(worker.feed.fileno(), select.EPOLLIN)
            asked[worker.feed.fileno()] = (worker, client, time.perf_counter())
            client.begin("POST", f"/v1/workers/{worker.worker_id}/input", {"content": said})

        for client in clients:
            ask_next(client)
        while asked:
            for fd, _ in poll.poll(TIMEOUT_S):
                worker, client, began = asked[fd]
                if not any(mark in frame for frame in worker.feed.ready()):
                    continue
                taken.append(time.perf_counter() - began)
                poll.unregister(fd)
                del asked[fd]
                client.finish()
                if waiting:
                    ask_next(client)
    return taken


def _memory(server: Server, count: int) -> Measured:
    daemon = spawn_daemon(server.pid)
    supervisors = children(daemon)
    workers = children(*supervisors)
    if len(workers) != count:
        raise RuntimeError(f"{count} workers were started and {len(workers)} are alive")
    used = {
        "server": rss_bytes(server.pid) / MIB,
        "supervisors": sum(map(pss_bytes, [daemon, *supervisors])) / MIB,
        "workers": sum(map(pss_bytes, workers)) / MIB,
    }
    return {**used, "all": sum(used.values())}


CASE = Case("live_workers", "Many live workers on two cores", run)
