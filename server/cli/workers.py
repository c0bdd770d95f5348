"""The commands that make one request and show its answer."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .faults import CliError, UsageFault
from .launching import Launch, create_request
from .reaching import reaching
from .showing import is_terminal, one_line, write_document, write_facts, write_json_line, write_line, write_table

if TYPE_CHECKING:
    from watchglass.client.http import Client

Json = dict[str, Any]


def ps(
    status: Annotated[
        str | None, typer.Option("--status", metavar="WORD", help="Only running, stopped or cancelled ones.")
    ] = None,
    phase: Annotated[
        str | None,
        typer.Option("--phase", metavar="WORD", help="Only those in this phase, such as accepted or failed."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Only with this label. Repeatable.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only their ids, one a line.")] = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """List the workers, in order of creation."""
    with reaching(url, token_file, runtime) as client:
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
            ("WORKER", "PHASE", "EXIT", "CREATED", "SAID", "PROGRAM"), [_row(worker, now) for worker in workers]
        )


def create(
    command: options.Command = None,
    worker_id: options.WorkerIdOption = None,
    speech: options.SpeechOption = "text",
    script: options.ScriptOption = None,
    passive: Annotated[
        bool,
        typer.Option(
            "--passive", help="No process: a journal that a trusted producer writes.", rich_help_panel="What it is"
        ),
    ] = False,
    label: options.LabelOption = None,
    metadata: options.MetadataOption = None,
    env: options.EnvOption = None,
    env_file: options.EnvFileOption = None,
    cwd: options.CwdOption = None,
    first_input: options.InputOption = None,
    wall_time: options.WallTimeOption = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Create a worker, and print its id.

    PROGRAM is looked up on your PATH and runs in your folder, so relative names mean what they mean here.
    """
    request = create_request(
        Launch(
            command=command or (),
            script=script,
            passive=passive,
            worker_id=worker_id,
            speech=speech,
            env=env or (),
            env_files=env_file or (),
            cwd=cwd,
            first_input=first_input,
            wall_time=wall_time,
            labels=label or (),
            metadata=metadata or (),
        )
    )
    with reaching(url, token_file, runtime) as client:
        answer = client.post("/v1/workers", request)
    if as_json:
        write_document(answer)
    else:
        write_line(answer["worker"]["worker_id"])


def send_input(
    worker: options.Worker,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="What to say; without it, or for '-', stdin.", show_default=False),
    ] = None,
    system: Annotated[bool, typer.Option("--system", help="Say it as the system, not as the user.")] = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Say something to a worker."""
    content = " ".join(text) if text and text != ["-"] else sys.stdin.read().removesuffix("\n")
    body = {"kind": "system" if system else "user", "content": content}
    with reaching(url, token_file, runtime) as client:
        answer = client.post(_path(worker, "input"), body)
    if as_json:
        write_document(answer)


def stop(
    workers: options.Workers,
    reason: options.Reason = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJsonLines = False,
) -> None:
    """Ask workers to leave, then make them leave; wait for it.

    Closes stdin and sends SIGTERM; what is left after the grace gets SIGKILL. An ended worker stays as it is.
    """
    with reaching(url, token_file, runtime) as client:
        _end(client, workers, "stop", reason, as_json=as_json)


def cancel(
    workers: options.Workers,
    reason: options.Reason = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJsonLines = False,
) -> None:
    """Abandon workers: SIGKILL to everything they started, at once."""
    with reaching(url, token_file, runtime) as client:
        _end(client, workers, "cancel", reason, as_json=as_json)


def interrupt(
    worker: options.Worker,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """End a worker's turn and keep the worker (SIGINT)."""
    with reaching(url, token_file, runtime) as client:
        _show_ack(client.post(_path(worker, "interrupt"), {}), as_json=as_json)


def send_signal(
    worker: options.Worker,
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="Its name, such as SIGUSR1 or HUP.")],
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Send a signal to a worker's process group."""
    with reaching(url, token_file, runtime) as client:
        _show_ack(client.post(_path(worker, "signal"), {"signal": signal}), as_json=as_json)


def close_stdin(
    worker: options.Worker,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """End a worker's input, after what it was sent."""
    with reaching(url, token_file, runtime) as client:
        _show_ack(client.post(_path(worker, "close-stdin"), {}), as_json=as_json)


def remove(
    workers: options.Workers,
    force: Annotated[bool, typer.Option("--force", "-f", help="Cancel those that still run.")] = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJsonLines = False,
) -> None:
    """Forget ended workers, their journals and their files."""
    with reaching(url, token_file, runtime) as client:
        for worker in workers:
            if force:
                _end(client, [worker], "cancel", "removed", as_json=None)
            client.delete(_path(worker))
            if as_json:
                write_json_line({"removed": worker})


def status(
    worker: Annotated[
        str | None,
        typer.Argument(metavar="[WORKER]", help="A worker's id; without it, the runtime.", show_default=False),
    ] = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one worker whole, or the runtime."""
    with reaching(url, token_file, runtime) as client:
        where = client.address.url
        answer = client.get("/v1/runtime" if worker is None else _path(worker))
    if as_json:
        write_document(answer)
    elif worker is None:
        write_facts(_runtime_facts(answer["runtime"], where))
    else:
        write_facts(_worker_facts(answer["worker"]))


def explain(
    worker: options.Worker,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Say why a worker is where it is: what it waits for, how it ended."""
    with reaching(url, token_file, runtime) as client:
        answer = client.get(_path(worker, "explain"))
    if as_json:
        write_document(answer)
    else:
        told = answer["explanation"]
        write_line(one_line(f"{worker} is {told['phase']}: {told['summary']}"))


def transcript(
    worker: options.Worker,
    start: Annotated[
        int | None, typer.Option("--start", metavar="N", min=0, help="Begin after N entries; else with the oldest.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most N entries.")] = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what was said, by whom."""
    with reaching(url, token_file, runtime) as client:
        answer = _whole_transcript(client, worker, start, limit)
    if as_json:
        write_document(answer)
        return
    for entry in answer["transcript"]["items"]:
        head = f"{entry['sequence']:>4} {entry['role']}"
        lines = entry["content"].splitlines() or [""]
        for place, line in enumerate(lines):
            write_line(f"{head if place == 0 else '':<16}  {one_line(line)}")


def _whole_transcript(client: Client, worker: str, start: int | None, limit: int | None) -> Json:
    """One window as asked, made of as many answers as it takes."""
    answer = client.get(_path(worker, "transcript"), {"start": start})
    window = answer["transcript"]
    items = window["items"]
    following = window["next_start"]
    while following is not None and (limit is None or len(items) < limit):
        more = client.get(_path(worker, "transcript"), {"start": following})["transcript"]
        items += more["items"]
        following = more["next_start"]
    if limit is not None and len(items) > limit:
        following = window["start"] + limit
        del items[limit:]
    window.update(limit=len(items) if limit is None else limit, next_start=following)
    return answer


def _end(client: Client, workers: list[str], act: str, reason: str | None, *, as_json: bool | None) -> None:
    from watchglass.client.http import END_TIMEOUT_S

    for worker in workers:
        body = {} if reason is None else {"reason": reason}
        answer = client.post(_path(worker, act), body, timeout_s=END_TIMEOUT_S)
        if as_json:
            write_json_line(answer)
        elif as_json is not None and is_terminal():
            write_line(f"{worker} {answer['ack'].get('phase', answer['ack']['status'])}")


def _show_ack(answer: Json, *, as_json: bool) -> None:
    """Nothing to say is good news, as is usual for a command."""
    if as_json:
        write_document(answer)


def _path(worker: str, *rest: str) -> str:
    from watchglass.client.http import worker_path

    if not worker.strip() or worker in {".", ".."}:
        raise UsageFault(f"{worker!r} is no worker id")
    return worker_path(worker, *rest)


def _row(worker: Json, now: datetime) -> tuple[str, ...]:
    return (
        worker["worker_id"],
        worker.get("phase", worker["status"]),
        shown_exit(worker.get("exit")),
        _ago(worker.get("created_at"), now),
        str(worker["transcript_len"]),
        worker.get("program") or "(passive)",
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
    facts.append(("store", said["backend"] + (f", {said['durability']}" if "durability" in said else "")))
    counts = ", ".join(
        f"{said[f'{word}_worker_count']} {word}" for word in ("active", "stopped", "cancelled")
    )
    facts.append(("workers", f"{said['worker_count']} ({counts})"))
    for name, label in (("waiting_worker_count", "waiting"), ("observer_count", "observers")):
        if name in said:
            facts.append((label, str(said[name])))
    if "reserved" in said and "capacity" in said:
        taken, most = said["reserved"]["task_slots"], said["capacity"]["task_slots"]
        facts.append(("slots", f"{taken} of {most} taken"))
    facts += [(label, str(said[name])) for name, label in _RUNTIME_PLAIN if name in said]
    return facts


_RUNTIME_PLAIN = (("started_at", "started"), ("version", "version"))


def _worker_facts(said: Json) -> list[tuple[str, str]]:
    ended = said.get("exit")
    execution = said.get("execution") or {}
    facts = [
        ("worker", said["worker_id"]),
        ("runtime", said["runtime_id"]),
        ("status", f"{said['status']} ({said['phase']})" if "phase" in said else said["status"]),
    ]
    if ended is not None:
        facts.append(("exit", f"{shown_exit(ended)} ({ended['reason']})"))
    if execution:
        facts.append(("program", " ".join([execution.get("program") or "(script)", *execution.get("args", [])])))
        facts.append(("folder", execution.get("cwd") or "its workspace"))
    facts += [(label, str(said[name])) for name, label in _WORKER_PLAIN if said.get(name) is not None]
    labels = (said.get("control_context") or {}).get("labels") or {}
    facts += [("label", f"{name}={value}") for name, value in labels.items()]
    facts += [("metadata", f"{name}={value}") for name, value in (said.get("metadata") or {}).items()]
    usage = said.get("usage") or {}
    if usage:
        facts.append(("usage", ", ".join(f"{name} {value}" for name, value in usage.items() if value is not None)))
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
