"""What an observer and a worker cost while nothing happens."""

from __future__ import annotations

from contextlib import ExitStack

from host import KIB, MIB, allow_open_files, children, pss_bytes, rss_bytes, spawn_daemon
from report import Case, Measured, Row, Scale, Target, interleaved
from serving import serving


def run(scale: Scale) -> list[Row]:
    """Fresh servers; the slopes, so that what a server has anyway does not count."""
    allow_open_files()
    few, many = scale.of(100, 5), scale.of(1000, 25)
    workers = scale.of(40, 4)
    seen = interleaved(
        scale.repetitions,
        {"observers": lambda: _observers(few, many), "workers": lambda: _workers(workers)},
    )
    return [
        Row("server after its start", "MiB RSS", seen["observers"]["start"]),
        Row(f"server, each idle observer ({few} to {many})", "KiB RSS", seen["observers"]["each"],
            target=Target("≤", 37)),
        Row("server, each idle worker", "KiB RSS", seen["workers"]["server"]),
        Row("supervisor of an idle worker", "MiB PSS", seen["workers"]["supervisor"],
            target=Target("≤", 2)),
        Row("spawn daemon", "MiB PSS", seen["workers"]["daemon"]),
    ]  # fmt: skip


def _observers(few: int, many: int) -> Measured:
    with serving() as server, server.connect() as connection, ExitStack() as feeds:
        worker_id = connection.create_passive()
        start = rss_bytes(server.pid)
        for _ in range(few):
            feeds.enter_context(server.observe(worker_id))
        before = rss_bytes(server.pid)
        for _ in range(many - few):
            feeds.enter_context(server.observe(worker_id))
        after = rss_bytes(server.pid)
    return {"start": start / MIB, "each": (after - before) / (many - few) / KIB}


def _workers(count: int) -> Measured:
    with serving() as server, server.connect() as connection:
        connection.create("sleep", "1000")
        before = rss_bytes(server.pid)
        for _ in range(count - 1):
            connection.create("sleep", "1000")
        after = rss_bytes(server.pid)
        daemon = spawn_daemon(server.pid)
        supervisors = children(daemon)
        assert len(supervisors) == count
        return {
            "server": (after - before) / (count - 1) / KIB,
            "supervisor": sum(map(pss_bytes, supervisors)) / count / MIB,
            "daemon": pss_bytes(daemon) / MIB,
        }


CASE = Case("memory", "Memory at rest", run)
