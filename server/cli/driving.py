"""The commands that change something: one request, one answer, or nothing to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .confining import Confinement
from .launching import create_request, launch_of, stdin_text
from .outage import outage_told
from .reaching import client_for, found, path_of, reaching
from .showing import is_terminal, write_document, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.finding import Found

Json = dict[str, Any]


def create(
    command: options.Command = None,
    *,
    worker_id: options.WorkerIdOption = None,
    speech: options.SpeechOption = "text",
    script: options.ScriptOption = None,
    passive: Annotated[
        bool,
        typer.Option(
            "--passive",
            help="No process: a journal that a trusted producer writes.",
            rich_help_panel="What it is",
        ),
    ] = False,
    notes: options.Notes,
    surroundings: options.Surroundings,
    first_input: options.InputOption = None,
    confinement: Confinement,
    tenant: options.TenantOption = None,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Create a worker, and print its id.

    PROGRAM is looked up on your PATH and runs in your folder, so relative names mean what they mean here.
    """
    request = create_request(launch_of(locals()))
    with reaching(where) as client:
        answer = client.post("/v1/workers", request)
    if as_json:
        write_document(answer)
    else:
        write_line(answer["worker"]["worker_id"])


def send_input(
    worker: options.Worker,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="What to say; without it, or for '-', stdin.", show_default=False
        ),
    ] = None,
    system: Annotated[bool, typer.Option("--system", help="Say it as the system, not as the user.")] = False,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Say something to a worker."""
    content = " ".join(text) if text and text != ["-"] else stdin_text().removesuffix("\n")
    body = {"kind": "system" if system else "user", "content": content}
    with reaching(where) as client:
        answer = client.post(path_of(worker, "input"), body)
    if as_json:
        write_document(answer)


def stop(
    workers: options.Workers,
    reason: options.Reason = None,
    *,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """Ask workers to leave, then make them leave; wait for it.

    Closes stdin and sends SIGTERM; what is left after the grace gets SIGKILL. An ended worker stays as it is.
    """
    _end(found(where), workers, "stop", reason, as_json=as_json)


def cancel(
    workers: options.Workers,
    reason: options.Reason = None,
    *,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """Abandon workers: SIGKILL to everything they started, at once."""
    _end(found(where), workers, "cancel", reason, as_json=as_json)


def interrupt(
    worker: options.Worker,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """End a worker's turn and keep the worker (SIGINT)."""
    with reaching(where) as client:
        _show_ack(client.post(path_of(worker, "interrupt"), {}), as_json=as_json)


def send_signal(
    worker: options.Worker,
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="Its name, such as SIGUSR1 or HUP.")],
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Send a signal to a worker's process group."""
    with reaching(where) as client:
        _show_ack(client.post(path_of(worker, "signal"), {"signal": signal}), as_json=as_json)


def close_stdin(
    worker: options.Worker,
    *,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """End a worker's input, after what it was sent."""
    with reaching(where) as client:
        _show_ack(client.post(path_of(worker, "close-stdin"), {}), as_json=as_json)


def remove(
    workers: options.Workers,
    force: Annotated[bool, typer.Option("--force", "-f", help="Cancel those that still run.")] = False,
    *,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """Forget ended workers, their journals and their files."""
    place = found(where)
    with client_for(place) as client:
        for worker in workers:
            if force:
                _end(place, [worker], "cancel", "removed", as_json=None)
            client.delete(path_of(worker))
            if as_json:
                write_json_line({"removed": worker})


def _end(place: Found, workers: list[str], act: str, reason: str | None, *, as_json: bool | None) -> None:
    from watchglass.client.call import END_TIMEOUT_S

    body = {} if reason is None else {"reason": reason}
    with client_for(place) as client:
        for worker in workers:
            with outage_told(place, worker):
                answer = client.post(path_of(worker, act), body, timeout_s=END_TIMEOUT_S)
            if as_json:
                write_json_line(answer)
            elif as_json is not None and is_terminal():
                write_line(f"{worker} {answer['ack'].get('phase', answer['ack']['status'])}")


def _show_ack(answer: Json, *, as_json: bool) -> None:
    """Nothing to say is good news, as is usual for a command."""
    if as_json:
        write_document(answer)
