"""`run`: a worker in place of a program.

our stdin ──lines──▶ inputs           (a thread, forwarding.py)
its logs  ──bytes──▶ stdout, stderr   (a thread, copying.py)
its feed  ──events─▶ this thread: when to copy, how it ended
Ctrl-C    ─────────▶ stop, then cancel (a thread, below)
"""

from __future__ import annotations

import signal
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchglass.client.faults import ApiError, ClientFault

from . import options
from .copying import Copier, LogCopy
from .faults import CliError, ExitCode, UsageFault
from .following import following, on_signals, own_code
from .forwarding import StdinForwarder
from .launching import Launch, create_request, launch_of
from .reaching import client_for, found, path_of
from .screens import reset_frame
from .showing import note, write_bytes, write_document, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.protocol.said import Said

Json = dict[str, Any]

_RUNNING = "How to run it"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EXPECTED = frozenset({"exited", "signalled", "stopped", "cancelled"})


def run(
    command: options.Command = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            "-i",
            help="Forward stdin even from a terminal, line by line.",
            rich_help_panel=_RUNNING,
        ),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--rm", help="Forget the worker when it has ended.", rich_help_panel=_RUNNING)
    ] = False,
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Print its id and leave it running.", rich_help_panel=_RUNNING),
    ] = False,
    task: Annotated[
        bool,
        typer.Option(
            "--task",
            help="Run it as a task: no input; its final status, as JSON, when it has finished.",
            rich_help_panel=_RUNNING,
        ),
    ] = False,
    worker_id: options.WorkerIdOption = None,
    speech: options.SpeechOption = "text",
    script: options.ScriptOption = None,
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
    owner: options.OwnerOption = None,
    tenant: options.TenantOption = None,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    runtime: options.RuntimeId = None,
    as_json: options.AsJsonLines = False,
) -> None:
    """Run a program as a worker, here: its output, its input, its exit code.

    Copies its stdout and stderr byte for byte and exits with its own code (128 + N when signal N ended it).
    Lines of stdin become inputs, and the end of stdin closes the worker's, unless stdin is a terminal (then
    with -i). Ctrl-C stops the worker, a second one cancels it. With --json, its events go to stdout instead.
    """
    if detach and remove:
        raise UsageFault("--detach and --rm: nobody would be there to remove it")
    launch = launch_of(locals())
    if owner is not None and not task:
        raise UsageFault("--owner: a task has one, and a worker has none; with --task")
    if task:
        _check_task(launch, interactive=interactive, detach=detach)
        code = _run_as_task(found(url, token_file, runtime), launch, remove=remove)
        raise typer.Exit(code)
    request = create_request(launch)
    place = found(url, token_file, runtime)
    if detach:
        _create_detached(place, request, as_json=as_json)
        return
    asked: SimpleQueue[str] = SimpleQueue()
    with on_signals(_Asks(asked), *_SIGNALS):
        with client_for(place) as client:
            worker = client.post("/v1/workers", request)["worker"]["worker_id"]
        _Controller(place, worker, asked).start()
        session = _Session(place, worker, as_json=as_json)
        if script == "-":
            session.forwarder = StdinForwarder(place, worker, None, together=True)
        elif sys.stdin is None or interactive or not sys.stdin.isatty():
            descriptor = None if sys.stdin is None else sys.stdin.fileno()
            session.forwarder = StdinForwarder(place, worker, descriptor, together=speech == "text")
        code = session.run()
        if remove:
            with client_for(place) as client:
                client.delete(path_of(worker))
    raise typer.Exit(code)


class _Session:
    """One worker from its creation to its end, on our stdout and stderr."""

    def __init__(self, runtime: Found, worker: str, *, as_json: bool) -> None:
        self._runtime = runtime
        self._worker = worker
        self._as_json = as_json
        self._exit: Json | None = None
        self.forwarder: StdinForwarder | None = None

    def run(self) -> int:
        """Until the worker has ended and everything it wrote is written; its exit code."""
        try:
            self._follow()
        except OSError:
            # Nobody takes its output: what a program would learn by SIGPIPE, the worker learns so.
            with client_for(self._runtime) as client:
                client.post(path_of(self._worker, "cancel"), {"reason": "nobody takes its output any more"})
            raise
        return self._code()

    def _follow(self) -> None:
        from watchglass.client.journey import PATIENCE_S

        with following(self._runtime, self._worker, "earliest", on_expired="snapshot") as follower:
            copier = Copier(self._runtime, {} if self._as_json else self._copies(), follower.leave)
            if self.forwarder is not None:
                self.forwarder.start()
            try:
                for said in follower.everything():
                    copier.wake()
                    self._take(said)
            except (ClientFault, CliError) as fault:
                note(f"{self._worker} may go on; come back with: watchglass attach {self._worker}")
                raise fault from None
            finally:
                if self.forwarder is not None:
                    self.forwarder.worker_ended()
            copier.finish(patience_s=PATIENCE_S)

    def _copies(self) -> dict[str, LogCopy]:
        streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        return {
            name: LogCopy(self._worker, name, lambda data, to=stream: write_bytes(to, data))  # type: ignore[misc]
            for name, stream in streams.items()
        }

    def _take(self, said: Said) -> None:
        if said.kind == "joined":  # Behind a reset it alone may tell that the worker runs, or how it ended.
            snapshot = said.data["worker"] if said.version == 2 else said.data
            self._see_phase(snapshot.get("phase"))
            self._exit = snapshot.get("exit") or self._exit
            return
        if said.kind == "reset":
            if self._as_json:
                write_json_line(reset_frame(said))
            return  # The bytes are in the logs, from where they are copied.
        if self._as_json:
            write_json_line(said.envelope)
        if said.name == "status":
            self._see_phase(said.data.get("phase"))
        elif said.name == "exit":
            self._exit = said.data
        elif said.name == "execution_plan":
            for reason in said.data["fallback_reasons"]:
                note(f"not given: {reason}")
        elif (said.name, said.data.get("source", said.data.get("code"))) in _OURS:
            note(said.data["message"])

    def _see_phase(self, phase: str | None) -> None:
        if phase == "running" and self.forwarder is not None:
            self.forwarder.worker_runs()

    def _code(self) -> int:
        code = own_code(self._exit)
        reason = (self._exit or {}).get("reason")
        if reason not in _EXPECTED:
            note(f"{self._worker} ended: {_REASONS.get(str(reason), reason)}")
        if code == ExitCode.OK and self.forwarder is not None and self.forwarder.failed:
            return ExitCode.FAILED
        return code


_OURS = frozenset({("alert", "executor"), ("error", "launch_failed"), ("error", "sandbox_setup_failed")})
"""What the runtime itself has to say of a worker."""

_REASONS = {
    "timeout": "its wall time was over",
    "lost": "nobody saw how",
    "launch_failed": "it could not be started",
    "sandbox_setup_failed": "its sandbox could not be made",
}


class _Asks:
    """What signals ask for, in order: stop, then cancel; the third one interrupts this program."""

    def __init__(self, asked: SimpleQueue[str]) -> None:
        self._asked = asked
        self._left = ["cancel", "stop"]

    def __call__(self, number: int) -> None:  # noqa: ARG002 - Every one of them means the same.
        if not self._left:
            raise KeyboardInterrupt
        self._asked.put(self._left.pop())  # SimpleQueue.put may be called in a signal handler.


class _Controller:
    """Does what signals ask for, each in a thread of its own: a cancel must not wait for a slow stop."""

    def __init__(self, runtime: Found, worker: str, asked: SimpleQueue[str]) -> None:
        self._runtime = runtime
        self._worker = worker
        self._asked = asked

    def start(self) -> None:
        """Begin; ends with the process."""
        threading.Thread(target=self._run, name="watchglass-signals", daemon=True).start()

    def _run(self) -> None:
        while True:
            act = self._asked.get()
            if act == "stop":
                note(f"stopping {self._worker}; Ctrl-C again cancels it at once")
            threading.Thread(target=self._do, args=(act,), name=f"watchglass-{act}", daemon=True).start()

    def _do(self, act: str) -> None:
        from watchglass.client.call import END_TIMEOUT_S

        try:
            with client_for(self._runtime) as client:
                client.post(path_of(self._worker, act), {}, timeout_s=END_TIMEOUT_S)
        except ApiError as refusal:
            if refusal.code != "worker_not_found":  # Ended and removed meanwhile.
                note(f"cannot {act} {self._worker}: {refusal}")
        except ClientFault as fault:
            note(f"cannot {act} {self._worker}: {fault}; once more Ctrl-C leaves it alone")


def _check_task(launch: Launch, *, interactive: bool, detach: bool) -> None:
    """What a task cannot be asked for. Raises UsageFault."""
    given = {
        "--interactive": interactive,
        "--detach": detach,
        "--input": launch.first_input is not None,
        "--speech": launch.speech != "text",
    }
    for flag, is_given in given.items():
        if is_given:
            instead = "; use 'watchglass submit'" if flag == "--detach" else ": a task takes no input"
            raise UsageFault(f"{flag}: not with --task{instead}")


def _run_as_task(runtime: Found, launch: Launch, *, remove: bool) -> int:
    from .tasking import run_task, task_request

    asked = task_request(launch)
    with client_for(runtime) as client:
        code, task = run_task(runtime, client, asked)
        if remove:
            client.delete(path_of(task))
    return code


def _create_detached(runtime: Found, request: Json, *, as_json: bool) -> None:
    with client_for(runtime) as client:
        answer = client.post("/v1/workers", request)
    if as_json:
        write_document(answer)
    else:
        write_line(answer["worker"]["worker_id"])
