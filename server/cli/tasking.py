"""`submit`, `wait`, `kill`, and what `run --task` does: tasks in the words of their contract.

What is printed of a task is its status answer, which has its output: one JSON
document. The exit code tells success.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from watchglass.client.faults import ApiError, Unreachable

from . import options
from .confining import Confinement
from .faults import CliError, ExitCode, UsageFault, exit_code
from .interrupts import interrupts
from .launching import Launch, create_request, launch_of, stdin_text, text_of
from .outage import Outage, outage_told
from .reaching import client_for, found, path_of, reaching
from .showing import note, write_document, write_line

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.http import Client

Json = dict[str, Any]

Task = Annotated[str, typer.Argument(metavar="TASK", help="The task's id.", show_default=False)]
RequestOption = Annotated[
    str | None,
    typer.Option(
        "--request", metavar="FILE|-", help="The whole request as JSON, in place of all other options."
    ),
]
TaskIdOption = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="ID", help="The task's id; made up without this.", rich_help_panel="What it is"
    ),
]


def submit(
    command: options.Command = None,
    *,
    request: RequestOption = None,
    task_id: TaskIdOption = None,
    script: options.ScriptOption = None,
    notes: options.Notes,
    surroundings: options.Surroundings,
    confinement: Confinement,
    owner: options.OwnerOption = None,
    tenant: options.TenantOption = None,
    where: options.Where,
    as_json: options.AsJson = False,
) -> None:
    """Submit a task, and print its id.

    A task runs once and takes no input. It waits for its turn and ends by itself, or at its wall time
    (five minutes unless --wall-time says another).
    """
    launch = launch_of({**locals(), "worker_id": task_id})
    if request is not None and launch != Launch():
        raise UsageFault("--request: it says everything; leave out the PROGRAM and what would describe it")
    asked = task_request(launch) if request is None else _given(request)
    from watchglass.client.task_places import TASKS

    with reaching(where) as client, _as_written(is_file=request is not None):
        answer = client.post(TASKS, asked)
    if as_json:
        write_document(answer)
    else:
        write_line(answer["task_id"])


def wait(
    task: Task,
    timeout_ms: Annotated[
        int | None,
        typer.Option("--timeout-ms", metavar="N", min=0, help="Leave after N ms, with exit code 6."),
    ] = None,
    *,
    where: options.Where,
    as_json: options.AsJson = False,  # noqa: ARG001 - It is JSON in any case.
) -> None:
    """Wait for a task's end, and print its final status with its output, as JSON.

    A server that is restarted meanwhile is waited for, a minute at most. The exit code is 0 when it was a
    success.
    """
    place = found(where)
    with client_for(place) as client:
        with _no_worker(client, task, "'watchglass attach' waits for its end"):
            client.get(task_path(task))  # Tells at once that there is no such task, or no runtime.
        with Outage(place, task).watched():
            final = wait_finished(place, client, task, timeout_ms)
    write_document(final)
    raise typer.Exit(code_of(final))


def kill(
    task: Task,
    owner: Annotated[
        str | None,
        typer.Option("--owner", metavar="NAME", help="Who you are: a task with an owner asks for it."),
    ] = None,
    reason: options.Reason = None,
    *,
    where: options.Where,
    as_json: options.AsJson = False,  # noqa: ARG001 - It is JSON in any case.
) -> None:
    """End a task, and print its final status, as JSON.

    SIGTERM to its process group, SIGKILL after the grace. One that had finished stays as it was.
    """
    place = found(where)
    with client_for(place) as client, _no_worker(client, task, "'watchglass stop' ends it"):
        write_document(killed(place, client, task, owner, reason))


def run_task(runtime: Found, client: Client, asked: Json) -> tuple[int, str]:
    """Submit, wait, print the final status; Ctrl-C kills the task. The exit code, and the task's id."""
    from watchglass.client.task_places import TASKS

    owner = asked.get("control_context", {}).get("owner")
    task = ""
    try:
        with interrupts() as interrupted:
            with interrupted.held():  # Or the task is there, and nobody who knows its id.
                task = client.post(TASKS, asked)["task_id"]
            final = wait_finished(runtime, client, task, None)
    except KeyboardInterrupt:
        if task:
            note(f"killing {task}")
            write_document(killed(runtime, client, task, owner, "interrupted"))
        raise
    write_document(final)
    return code_of(final), task


def task_request(launch: Launch) -> Json:
    """The body of `POST /api/v1/tasks`. Raises UsageFault, CliError."""
    asked = create_request(launch)
    del asked["speech"]
    if "worker_id" in asked:
        asked["task_id"] = asked.pop("worker_id")
    return asked


def task_path(task: str, *rest: str) -> str:
    """The path of a task, or of something of it. Raises UsageFault for what can be no id."""
    from watchglass.client import task_places

    if not task.strip() or task in {".", ".."}:
        raise UsageFault(f"{task!r} is no task id")
    return task_places.task_path(task, *rest)


def wait_finished(runtime: Found, client: Client, task: str, timeout_ms: int | None) -> Json:
    """The final status of a task. Raises CliError when it has none in time."""
    from watchglass.client.jitter import jitter
    from watchglass.client.task_places import TaskWait

    path = task_path(task)
    wait = TaskWait(task, time.monotonic(), None if timeout_ms is None else timeout_ms / 1000)
    try:
        while True:
            try:
                said = client.get(path, {"wait_ms": wait.wait_ms(time.monotonic())})
            except Unreachable as fault:
                time.sleep(wait.lost(time.monotonic(), fault, jitter=jitter()))
                client.move(runtime.again())
            else:
                if wait.answered(time.monotonic(), said["status"]):
                    return said
    except TimeoutError as late:
        raise CliError(str(late), ExitCode.TIMED_OUT) from None


def killed(runtime: Found, client: Client, task: str, owner: str | None, reason: str | None) -> Json:
    """The status of a task that was made to end."""
    from watchglass.client.call import END_TIMEOUT_S
    from watchglass.client.task_places import OWNER_HEADER

    headers = {} if owner is None else {OWNER_HEADER: owner}
    path = task_path(task, "kill")
    with outage_told(runtime, task):
        return client.post(path, {"reason": reason}, headers=headers, timeout_s=END_TIMEOUT_S)


def code_of(final: Json) -> int:
    """The exit code that tells success."""
    return ExitCode.OK if final["status"] == "success" else ExitCode.FAILED


def task_facts(said: Json) -> list[tuple[str, str]]:
    """A task for a person."""
    error = said.get("error") or {}
    facts = [("task", said["task_id"]), ("status", said["status"])]
    if error:
        facts.append(("error", f"{error['code']}: {error['message']}"))
    facts += [(label, str(said[name])) for name, label in _PLAIN if said.get(name) is not None]
    facts += [("metadata", f"{name}={value}") for name, value in said["metadata"].items()]
    plan = said.get("execution_plan") or {}
    facts += [("degraded", reason) for reason in plan.get("fallback_reasons", [])]
    return [*facts, ("files", said["artifacts"]["task_dir"])]


_PLAIN: Final = (
    ("exit_code", "exit code"),
    ("exit_signal", "signal"),
    ("pid", "pid"),
    ("created_at", "created"),
    ("started_at", "started"),
    ("finished_at", "finished"),
    ("duration_ms", "took ms"),
)


@contextmanager
def _as_written(*, is_file: bool) -> Iterator[None]:
    """Where a request came whole, its fields are named as they stand there, and not as options."""
    try:
        yield
    except ApiError as refusal:
        if is_file:
            raise CliError(str(refusal), exit_code(refusal)) from None
        raise


@contextmanager
def _no_worker(client: Client, task: str, instead: str) -> Iterator[None]:
    """Who names a worker where a task belongs is told what is for workers."""
    try:
        yield
    except ApiError as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND and _is_worker(client, task):
            raise CliError(f"{task!r} is a worker, and no task; {instead}", ExitCode.NOT_FOUND) from None
        raise


def _is_worker(client: Client, name: str) -> bool:
    try:
        client.get(path_of(name))
    except ApiError:
        return False
    return True


def _given(source: str) -> Json:
    """A request from a file, or from stdin."""
    text = stdin_text() if source == "-" else text_of(Path(source), "--request")
    try:
        asked = json.loads(text)
    except ValueError as fault:
        raise CliError(f"--request {source}: is not JSON: {fault}") from None
    if not isinstance(asked, dict):
        raise CliError(f"--request {source}: is no JSON object")
    return asked
