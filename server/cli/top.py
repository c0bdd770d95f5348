"""`top`: who holds which part of the capacity, who waits, and what it uses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .reaching import client_for, found
from .showing import is_terminal, one_line, table_of, write_document, write_line, write_table
from .sizes import size_text
from .trees import read_stats, usage_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from watchglass.client.http import Client

Json = dict[str, Any]

COLUMNS = ("WORKER", "PHASE", "TENANT", "SLOTS", "MEMORY", "PIDS", "CPU", "RSS", "PROCS", "PROGRAM")
_LABELS = {"task_slots": "slots", "memory_bytes": "memory", "pids": "pids"}


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and leave.")] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, help="How often it is looked at.")
    ] = 2.0,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Watch who holds which part of the capacity, and who waits.

    Live on a terminal until Ctrl-C; elsewhere, and with --json, once. CPU time and memory in use are known of
    workers on this machine alone.
    """
    reached = found(where)
    with client_for(reached) as client:
        here = reached.server is not None
        if as_json:
            write_document(_look(client, here=here))
        elif once or not is_terminal():
            _write(_look(client, here=here))
        else:
            with suppress(KeyboardInterrupt):
                _live(client, every, here=here)


def _look(client: Client, *, here: bool) -> Json:
    """The runtime's answer and its workers; `usage` of each that runs here."""
    told = client.get("/v1/runtime/resources")["resources"]
    workers = client.get("/v1/workers", {"status": "running"})["workers"]
    pids = {each["worker_id"]: each["pid"] for each in told["active_reservations"] if each["pid"]}
    used = usage_of(pids.values(), read_stats()) if here else {}
    for worker in workers:
        usage = used.get(pids.get(worker["worker_id"], 0))
        worker["usage_now"] = None if usage is None else asdict(usage)
    return {"resources": told, "workers": workers}


def _live(client: Client, every_s: float, *, here: bool) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, screen=True) as screen:
        while True:
            seen = _look(client, here=here)
            head: list[RenderableType] = [Text(one_line(line)) for line in _head(seen["resources"])]
            screen.update(Group(*head, Text(), table_of(COLUMNS, _rows(seen["workers"]))), refresh=True)
            time.sleep(every_s)


def _write(seen: Json) -> None:
    for line in _head(seen["resources"]):
        write_line(one_line(line))
    write_line("")
    write_table(COLUMNS, _rows(seen["workers"]))


def _head(told: Json) -> Iterator[str]:
    yield f"{told['runtime_id']}: {_shares(told['reserved'], told['capacity'])}"
    yield f"{len(told['active_reservations'])} running, {told['waiting_worker_count']} waiting"
    for tenant in told["tenants"]:
        waiting = f"{tenant['waiting_worker_count']} waiting"
        yield f"tenant {tenant['tenant']}: {_shares(tenant['reserved'], tenant['quota'] or {})}, {waiting}"


def _shares(reserved: Json, bounds: Json) -> str:
    """What is reserved of each resource, and of how much."""
    told = []
    for resource, label in _LABELS.items():
        amount, bound = reserved.get(resource), bounds.get(resource)
        if amount is not None:
            whole = "" if bound is None else f" of {_amount(resource, bound)}"
            told.append(f"{_amount(resource, amount)}{whole} {label}")
    return ", ".join(told)


def _rows(workers: list[Json]) -> list[tuple[str, ...]]:
    """Those that hold something, then those that wait; passive ones do neither."""
    with_process = [worker for worker in workers if worker.get("program")]
    return [_row(worker) for worker in sorted(with_process, key=lambda worker: not worker.get("reservation"))]


def _row(worker: Json) -> tuple[str, ...]:
    held, usage = worker.get("reservation") or {}, worker["usage_now"] or {}
    return (
        worker["worker_id"],
        worker["phase"],
        worker.get("tenant") or "",
        *(_amount(resource, held.get(resource)) for resource in _LABELS),
        f"{usage['cpu_s']:.1f}s" if usage else "",
        _amount("memory_bytes", usage.get("rss_bytes")),
        str(usage.get("processes", "")),
        worker["program"],
    )


def _amount(resource: str, amount: int | None) -> str:
    if amount is None:
        return ""
    return size_text(amount) if resource == "memory_bytes" else str(amount)
