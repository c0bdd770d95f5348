"""One worker's events at many observers, all of them at the head."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from functools import partial

from host import allow_open_files, cores, on_core
from report import Case, Measured, Row, Scale, interleaved
from serving import TIMEOUT_S, Feed, Server, serving

BURST = 16


def run(scale: Scale) -> list[Row]:
    """A passive worker whose producer appends in bursts; the next when all have the last."""
    allow_open_files()
    server_core, client_core = cores()
    ways: dict[str, Callable[[], Measured]] = {}
    observers = (1, 10, 100)[: scale.of(3, 2)]
    with serving(core=server_core) as server, on_core(client_core):
        for count in observers:
            bursts = max(2, scale.of(2000, 40) // (count + 9))
            ways[str(count)] = partial(_served, server, count, bursts)
        seen = interleaved(scale.repetitions, ways)
    return [
        Row(f"{count} observer{'s' if count > 1 else ''}, bursts of {BURST}", "deliveries a second",
            seen[str(count)]["rate"])
        for count in observers
    ]  # fmt: skip


def _served(server: Server, observers: int, bursts: int) -> Measured:
    event = {"event": "tick", "data": {"text": "w" * 130}}
    with server.connect() as connection:
        worker_id = connection.create_passive()
        feeds = [server.observe(worker_id, "latest") for _ in range(observers)]
        try:
            began = time.perf_counter()
            for _ in range(bursts):
                connection.begin("POST", f"/v1/workers/{worker_id}/events", {"events": [event] * BURST})
                _receive_everywhere(feeds, BURST)
                connection.finish()
            taken_s = time.perf_counter() - began
        finally:
            for feed in feeds:
                feed.close()
        connection.request("POST", f"/v1/workers/{worker_id}/cancel")
    return {"rate": bursts * BURST * observers / taken_s}


def _receive_everywhere(feeds: Sequence[Feed], frames: int) -> None:
    """Return when each feed has so many frames more."""
    missing = dict.fromkeys(feeds, frames)
    poll = select.epoll()
    by_fd = {feed.fileno(): feed for feed in feeds}
    with poll:
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        while missing:
            for fd, _ in poll.poll(TIMEOUT_S):
                feed = by_fd[fd]
                missing[feed] -= len(feed.ready())
                if missing[feed] == 0:
                    del missing[feed]
                    poll.unregister(fd)


CASE = Case("fan_out", "One worker, many observers", run)
