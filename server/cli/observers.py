"""`observers`: who watches, and how far behind each one is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from . import options
from .reaching import path_of, reaching
from .showing import write_document, write_table
from .sizes import size_text

Json = dict[str, Any]

COLUMNS = ("OBSERVER", "WORKER", "TRANSPORT", "PEER", "TOKEN", "SINCE", "CURSOR", "LAG", "BEHIND", "SENT")
ALL_WORKERS = "*"


def observers(
    worker: Annotated[
        str | None,
        typer.Argument(metavar="[WORKER]", help="Only those of this worker.", show_default=False),
    ] = None,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """List who watches, and how far behind each one is.

    LAG is how many events an observer has yet to be sent, with a '+' when retention has dropped more of
    them; BEHIND is how old the oldest of these is. Both are 0 at the head.
    """
    if worker is not None:
        path_of(worker)
    with reaching(where) as client:
        answer = client.get("/v1/observers", {"worker_id": worker})
    if as_json:
        write_document(answer)
        return
    now = datetime.now(UTC)
    write_table(COLUMNS, [_row(observer, now) for observer in answer["observers"]])


def _row(told: Json, now: datetime) -> tuple[str, ...]:
    since_s = max(0.0, (now - datetime.fromisoformat(told["since"])).total_seconds())
    return (
        told["observer_id"],
        told["worker_id"] or ALL_WORKERS,
        told["transport"],
        told["peer"] or "",
        told["token"] or "",
        _duration(since_s),
        told["cursor"] or "",
        "?" if told["lag_events"] is None else f"{told['lag_events']}{'+' if told['overtaken'] else ''}",
        "?" if told["lag_s"] is None else _duration(told["lag_s"]),
        f"{told['events_sent']} events, {size_text(told['bytes_sent'])}",
    )


def _duration(seconds: float) -> str:
    if seconds == 0:
        return "0"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes}m{left:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"
