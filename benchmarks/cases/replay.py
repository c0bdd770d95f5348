"""A long journal to observers who begin at its first event, or far behind its last, by a real server.

The server verifies what it reads and makes the frames; it has a core of its own,
as the observers have. All servers are at rest when one of them is measured, for they
share the core. The files are in the system's memory, as those of a journal are that
was just written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from filling import fill_log
from host import allow_open_files, cores, on_core, wait_at_rest
from jetstream import Client, jetstream, nats_server
from producers import EVENT, worker_id
from receiving import replayed, replayed_bare, resumed
from report import Case, Measured, Row, Scale, Spread, Target, interleaved
from sender import envelope
from serving import Feed, Server, serving

MANY = 100
KEEPS_ALL = ("--retain-bytes", str(1 << 30), "--retain-events", str(1 << 30))
_EVENTS_A_REQUEST = 500
_EVENTS_A_WRITE = 1000


class _Serving(NamedTuple):
    """A server of ours that runs, and how to observe it."""

    observe: Callable[[], Feed]
    pid: int


def run(scale: Scale) -> list[Row]:
    """To one and to many, from files and from memory; each server is filled once."""
    allow_open_files()
    server_core, client_core = cores()
    behind, events, each = scale.of(1_000_000, 5_000), scale.of(200_000, 2_000), scale.of(5_000, 100)
    with on_core(client_core), ExitStack() as left:
        long = left.enter_context(_on_disk(scale, behind, server_core))
        short = left.enter_context(_on_disk(scale, each, server_core))
        memory = left.enter_context(_in_memory(events, server_core))
        ways: dict[str, Callable[[], Measured]] = {
            "disk": partial(replayed, long.observe, 1, events),
            "bare": partial(replayed_bare, scale.directory, server_core, events),
            "memory": partial(replayed, memory.observe, 1, events),
            "disk, many": partial(replayed, short.observe, MANY, each),
            "resumed": partial(resumed, long.observe),
        }
        servers = [long.pid, short.pid, memory.pid]
        if nats_server() is not None:
            port, pid = left.enter_context(jetstream(scale.directory, server_core))
            _publish(port, events)
            servers.append(pid)
            ways["jetstream"] = partial(replayed, partial(_consume, port), 1, events)
            ways["jetstream, many"] = partial(replayed, partial(_consume, port), MANY, each)
        rested = {way: partial(_measured_at_rest, measure, servers) for way, measure in ways.items()}
        seen = interleaved(scale.repetitions, rested)
    return list(_rows(seen, behind))


def _rows(seen: dict[str, dict[str, Spread]], behind: int) -> Iterator[Row]:
    unit = "events a second"
    one, many, bare = (seen[way]["rate"] for way in ("disk", "disk, many", "bare"))
    yield Row(
        "from files to 1 observer; `socket.sendall` of the same bytes, ready in memory",
        unit, one, bare, Target("≥", 0.6, of_reference=True),
    )  # fmt: skip
    yield Row("from files to 1 observer, by itself", unit, one, target=Target("≥", 1_000_000))
    yield Row("from memory to 1 observer; the same", unit, seen["memory"]["rate"], bare)
    if "jetstream" in seen:
        for ours, way, who in (
            (one, "jetstream", "1 observer"),
            (many, "jetstream, many", f"{MANY} observers"),
        ):
            what = f"from files to {who}; NATS JetStream, ordered consumers"
            yield Row(what, unit, ours, seen[way]["rate"])
    else:
        yield Row(f"from files to {MANY} observers; without nats-server there is no reference", unit, many)
    yield Row(f"a cursor {behind:,} events back, connect to the first event", "ms", seen["resumed"]["ms"])


@contextmanager
def _on_disk(scale: Scale, events: int, core: int) -> Iterator[_Serving]:
    """A server over files that hold a worker with so many events; who joins begins at the first."""
    root = scale.directory / f"replay-{events}"
    root.mkdir()
    fill_log(root, events)
    with serving("--store", "fs", "--fs-root", str(root), *KEEPS_ALL, core=core) as server:
        yield _Serving(lambda: server.observe(worker_id(0), "earliest"), server.pid)


@contextmanager
def _in_memory(events: int, core: int) -> Iterator[_Serving]:
    with serving("--store", "memory", *KEEPS_ALL, core=core) as server:
        passive = _appended(server, events)
        yield _Serving(lambda: server.observe(passive, "earliest"), server.pid)


def _appended(server: Server, events: int) -> str:
    """A worker that somebody else's events were appended to; its id."""
    batch = [{"event": EVENT.name, "data": EVENT.data}] * _EVENTS_A_REQUEST
    with server.connect() as connection:
        passive = connection.create_passive()
        for first in range(0, events, _EVENTS_A_REQUEST):
            some = batch[: events - first]
            connection.request("POST", f"/v1/workers/{passive}/events", {"events": some})
    return passive


def _measured_at_rest(measure: Callable[[], Measured], servers: Sequence[int]) -> Measured:
    """Measure when all servers are done with those who left."""
    for pid in servers:
        wait_at_rest(pid)
    return measure()


def _publish(port: int, events: int) -> None:
    """The same events to a stream of NATS."""
    batch = [envelope(number) for number in range(_EVENTS_A_WRITE)]
    with Client(port) as client:
        for first in range(0, events, _EVENTS_A_WRITE):
            client.publish(batch[: events - first])


def _consume(port: int) -> Client:
    client = Client(port)
    client.consume("all")
    return client


CASE = Case("replay", "A journal from its first event on, by a server (reference: what the row names)", run)
