"""The commands that change something: one request, one answer, or nothing to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .launching import create_request, launch_of, stdin_text
from .reaching import path_of, reaching
from .showing import is_terminal, write_document, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.http import Client

Json = dict[str, Any]


def create(
    command: options.Command = None,
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
    label: options.LabelOption = None,
    metadata: options.MetadataOption = None,
    env: options.EnvOption = None,
    env_file: options.EnvFileOption = None,
    cwd: options.CwdOption = None,
    first_input: options.InputOption = None,
    sandbox: options.SandboxOption = None,
    network: options.NetworkOption = None,
    allow: options.AllowOption = None,
    filesystem: options.FilesystemOption = None,
    memory: options.MemoryOption = None,
    pids: options.PidsOption = None,
    wall_time: options.WallTimeOption = None,
    cpu_time: options.CpuTimeOption = None,
    file_size: options.FileSizeOption = None,
    strict: options.StrictOption = False,
    tenant: options.TenantOption = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Create a worker, and print its id.

    PROGRAM is looked up on your PATH and runs in your folder, so relative names mean what they mean here.
    """
    request = create_request(launch_of(locals()))
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
        typer.Argument(
            metavar="[TEXT]...", help="What to say; without it, or for '-', stdin.", show_default=False
        ),
    ] = None,
    system: Annotated[bool, typer.Option("--system", help="Say it as the system, not as the user.")] = False,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """Say something to a worker."""
    content = " ".join(text) if text and text != ["-"] else stdin_text().removesuffix("\n")
    body = {"kind": "system" if system else "user", "content": content}
    with reaching(url, token_file, runtime) as client:
        answer = client.post(path_of(worker, "input"), body)
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
        _show_ack(client.post(path_of(worker, "interrupt"), {}), as_json=as_json)


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
        _show_ack(client.post(path_of(worker, "signal"), {"signal": signal}), as_json=as_json)


def close_stdin(
    worker: options.Worker,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJson = False,
) -> None:
    """End a worker's input, after what it was sent."""
    with reaching(url, token_file, runtime) as client:
        _show_ack(client.post(path_of(worker, "close-stdin"), {}), as_json=as_json)


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
            client.delete(path_of(worker))
            if as_json:
                write_json_line({"removed": worker})


def _end(client: Client, workers: list[str], act: str, reason: str | None, *, as_json: bool | None) -> None:
    from watchglass.client.call import END_TIMEOUT_S

    for worker in workers:
        body = {} if reason is None else {"reason": reason}
        answer = client.post(path_of(worker, act), body, timeout_s=END_TIMEOUT_S)
        if as_json:
            write_json_line(answer)
        elif as_json is not None and is_terminal():
            write_line(f"{worker} {answer['ack'].get('phase', answer['ack']['status'])}")


def _show_ack(answer: Json, *, as_json: bool) -> None:
    """Nothing to say is good news, as is usual for a command."""
    if as_json:
        write_document(answer)
