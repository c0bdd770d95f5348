"""The commands that show workers and the runtime: one request, one answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .faults import CliError
from .reaching import path_of, reaching
from .showing import one_line, write_document, write_facts, write_line, write_table
from .tasking import task_facts, task_path

if TYPE_CHECKING:
    from watchglass.client.http import Client

Json = dict[str, Any]

WARNINGS_SHOWN_MAX = 5


def ps(
    status: Annotated[
        str | None, typer.Option("--status", metavar="WORD", help="Only running, stopped or cancelled ones.")
    ] = None,
    phase: Annotated[
        str | None,
        typer.Option("--phase", metavar="WORD", help="Only those in this phase, such as accepted or failed."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="Only with this label. Repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only their ids, one a line.")] = False,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """List the workers, in order of creation."""
    with reaching(where) as client:
        answer = client.get("/v1/workers", {"status": status, "phase": phase, "label": label})
    workers = answer["workers"]
    if as_json:
        write_document(answer)
    elif quiet:
        for worker in workers:
            write_line(worker["worker_id"])
    else:
        now = datetime.now(UTC)
        write_table(
            ("WORKER", "PHASE", "EXIT", "CREATED", "SAID", "PROGRAM"),
            [_row(worker, now) for worker in workers],
        )


def status(
    worker: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKER]", help="A worker's id; without it, the runtime.", show_default=False
        ),
    ] = None,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Show one worker or task whole, or the runtime."""
    with reaching(where) as client:
        url = client.address.url
        answer = client.get("/v1/runtime" if worker is None else path_of(worker))
        if worker is not None and answer["worker"].get("face") == "task":
            answer = client.get(task_path(worker))
        notes = client.get("/v1/diagnostics")["diagnostics"] if worker is None and not as_json else []
    if as_json:
        write_document(answer)
    elif worker is None:
        write_facts(_runtime_facts(answer["runtime"], url) + warning_facts(notes))
    elif "task_id" in answer:
        write_facts(task_facts(answer))
    else:
        write_facts(_worker_facts(answer["worker"]))


def explain(
    worker: options.Worker,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Say why a worker is where it is: what it waits for, how it ended."""
    with reaching(where) as client:
        answer = client.get(path_of(worker, "explain"))
    if as_json:
        write_document(answer)
    else:
        told = answer["explanation"]
        write_line(one_line(f"{worker} {told['summary']}"))


def transcript(
    worker: options.Worker,
    start: Annotated[
        int | None,
        typer.Option("--start", metavar="N", min=0, help="Begin after N entries; else with the oldest."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most N entries.")
    ] = None,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Show what was said, by whom."""
    with reaching(where) as client:
        answer = _whole_transcript(client, worker, start, limit)
    if as_json:
        write_document(answer)
        return
    for entry in answer["transcript"]["items"]:
        _write_said(f"{entry['sequence']:>4} {entry['role']}", entry["content"])
    in_flight = answer["transcript"].get("in_flight")
    if in_flight is not None:
        _write_said("   … assistant", in_flight)


def _write_said(head: str, content: str) -> None:
    for place, line in enumerate(content.splitlines() or [""]):
        write_line(f"{head if place == 0 else '':<16}  {one_line(line)}")


def _whole_transcript(client: Client, worker: str, start: int | None, limit: int | None) -> Json:
    """One window as asked, made of as many answers as it takes."""
    answer = client.get(path_of(worker, "transcript"), {"start": start})
    window = answer["transcript"]
    items = window["items"]
    following = window["next_start"]
    while following is not None and (limit is None or len(items) < limit):
        more = client.get(path_of(worker, "transcript"), {"start": following})["transcript"]
        items += more["items"]
        window["in_flight"] = more.get("in_flight")
        following = more["next_start"]
    if limit is not None and len(items) > limit:
        following = window["start"] + limit
        del items[limit:]
    if following is not None:
        window["in_flight"] = None  # It stands at the end, which is not in this window.
    window.update(limit=len(items) if limit is None else limit, next_start=following)
    return answer


def _row(worker: Json, now: datetime) -> tuple[str, ...]:
    return (
        str(worker["worker_id"]),
        str(worker.get("phase", worker["status"])),
        shown_exit(worker.get("exit")),
        _ago(worker.get("created_at"), now),
        str(worker["transcript_len"]),
        str(worker.get("program") or "(passive)"),
    )


def shown_exit(ended: Json | None) -> str:
    """How a worker ended, in a few characters."""
    if ended is None:
        return ""
    if ended.get("signal") is not None:
        return f"signal {ended['signal']}"
    if ended.get("code") is not None:
        return str(ended["code"])
    return str(ended.get("reason", ""))


def _ago(time: str | None, now: datetime) -> str:
    if time is None:
        return ""
    try:
        seconds = max(0, int((now - datetime.fromisoformat(time)).total_seconds()))
    except ValueError:
        raise CliError(f"the runtime says {time!r}, which is no time") from None
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit} ago"
    return f"{seconds}s ago"


def _runtime_facts(said: Json, where: str) -> list[tuple[str, str]]:
    facts = [("runtime", said["runtime_id"]), ("url", where), ("status", said["status"])]
    if said.get("display_name"):
        facts.append(("name", said["display_name"]))
    durability = _DURABILITY.get(said.get("durability", ""), said.get("durability"))
    facts.append(("store", ", ".join(filter(None, [said["backend"], durability]))))
    counts = ", ".join(
        f"{said[f'{word}_worker_count']} {word}" for word in ("active", "stopped", "cancelled")
    )
    facts.append(("workers", f"{said['worker_count']} ({counts})"))
    if "keep_workers" in said:
        facts.append(("processes", _keeps(said)))
    for name, label in (("waiting_worker_count", "waiting"), ("observer_count", "observers")):
        if name in said:
            facts.append((label, str(said[name])))
    if "reserved" in said and "capacity" in said:
        taken, most = said["reserved"]["task_slots"], said["capacity"]["task_slots"]
        facts.append(("slots", f"{taken} of {most} taken"))
    facts += [(label, str(said[name])) for name, label in _RUNTIME_PLAIN if name in said]
    return facts


def _keeps(said: Json) -> str:
    return "outlive the server" if said["keep_workers"] else "end with the server"


def warning_facts(notes: list[Json]) -> list[tuple[str, str]]:
    """How many notes an operator should see, and the newest of them."""
    grave = [note for note in notes if note["severity"] != "info"]
    facts = [("warnings", str(len(grave)))] if grave else []
    for note in reversed(grave[-WARNINGS_SHOWN_MAX:]):
        where = f"{note['worker_ref']['worker_id']}: " if note.get("worker_ref") else ""
        facts.append((note["severity"], f"{where}{note['message']} ({note['code']})"))
    return facts


_DURABILITY = {
    "none": "kept as long as it runs",
    "os": "survives the death of processes",
    "fsync": "survives a loss of power",
}
_RUNTIME_PLAIN = (("started_at", "started"), ("version", "version"))


def _status(said: Json) -> str:
    """With the exact word, where it says more."""
    status, phase = said["status"], said.get("phase", said["status"])
    return status if phase == status else f"{status} ({phase})"


def _worker_facts(said: Json) -> list[tuple[str, str]]:
    ended = said.get("exit")
    execution = said.get("execution") or {}
    facts = [
        ("worker", said["worker_id"]),
        ("runtime", said["runtime_id"]),
        ("status", _status(said)),
    ]
    if ended is not None:
        facts.append(("exit", f"{shown_exit(ended)} ({ended['reason']})"))
    if execution:
        facts.append(
            ("program", " ".join([execution.get("program") or "(script)", *execution.get("args", [])]))
        )
        facts.append(("folder", execution.get("cwd") or "its workspace"))
    facts += [(label, str(said[name])) for name, label in _WORKER_PLAIN if said.get(name) is not None]
    labels = (said.get("control_context") or {}).get("labels") or {}
    facts += [("label", f"{name}={value}") for name, value in labels.items()]
    facts += [("metadata", f"{name}={value}") for name, value in (said.get("metadata") or {}).items()]
    usage = said.get("usage") or {}
    if usage:
        facts.append(
            ("usage", ", ".join(f"{name} {value}" for name, value in usage.items() if value is not None))
        )
    plan = said.get("execution_plan") or {}
    facts += [("degraded", reason) for reason in plan.get("fallback_reasons", [])]
    return facts


_WORKER_PLAIN = (
    ("speech", "speech"),
    ("pid", "pid"),
    ("created_at", "created"),
    ("started_at", "started"),
    ("finished_at", "finished"),
    ("transcript_len", "said"),
    ("head", "head"),
    ("oldest", "oldest"),
)
