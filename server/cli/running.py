"""`run`: a worker in place of a program.

our stdin ──lines──▶ inputs           (a thread, forwarding.py)
its logs  ──bytes──▶ stdout, stderr   (a thread, copying.py)
its feed  ──events─▶ this thread: when to copy, how it ended
Ctrl-C    ─────────▶ stop, then cancel (a thread, below)
silence   ─────────▶ is its store full? (a thread, outage.py)
"""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchglass.client.faults import ApiError, ClientFault

from . import options
from .confining import Confinement
from .copying import Copier, LogCopy
from .faults import INTERRUPTED, CliError, ExitCode, UsageFault
from .following import following, on_signals, own_code
from .forwarding import StdinForwarder
from .launching import Launch, create_request, launch_of
from .outage import Outage
from .reaching import client_for, found, path_of
from .screens import reset_frame
from .showing import note, write_bytes, write_document, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.follower import Follower
    from watchglass.protocol.said import Said

Json = dict[str, Any]

_RUNNING = "How to run it"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EXPECTED = frozenset({"exited", "signalled", "stopped", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How it is run."""

    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            "-i",
            help="Forward stdin even from a terminal, line by line.",
            rich_help_panel=_RUNNING,
        ),
    ] = False
    remove: Annotated[
        bool, typer.Option("--rm", help="Forget the worker when it has ended.", rich_help_panel=_RUNNING)
    ] = False
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Print its id and leave it running.", rich_help_panel=_RUNNING),
    ] = False
    task: Annotated[
        bool,
        typer.Option(
            "--task",
            help="Run it as a task: no input; its final status, as JSON, when it has finished.",
            rich_help_panel=_RUNNING,
        ),
    ] = False


def run(
    command: options.Command = None,
    *,
    how: How,
    worker_id: options.WorkerIdOption = None,
    speech: options.SpeechOption = "text",
    script: options.ScriptOption = None,
    notes: options.Notes,
    surroundings: options.Surroundings,
    first_input: options.InputOption = None,
    confinement: Confinement,
    owner: options.OwnerOption = None,
    tenant: options.TenantOption = None,
    where: options.Where,
    as_json: options.AsJsonLines = False,
) -> None:
    """Run a program as a worker, here: its output, its input, its exit code.

    Copies its stdout and stderr byte for byte and exits with its own code (128 + N when signal N ended it).
    Lines of stdin become inputs, and the end of stdin closes the worker's, unless stdin is a terminal (then
    with -i). Ctrl-C stops the worker, a second one cancels it. With --json, its events go to stdout instead.
    """
    launch = launch_of(locals())
    _check(launch, how)
    if how.task:
        raise typer.Exit(_run_as_task(found(where), launch, remove=how.remove))
    request = create_request(launch)
    place = found(where)
    if how.detach:
        _create_detached(place, request, as_json=as_json)
        return
    raise typer.Exit(_run_here(place, request, launch, how, as_json=as_json))


def _run_here(place: Found, request: Json, launch: Launch, how: How, *, as_json: bool) -> int:
    """A worker from its creation to its end; its exit code."""
    asked: SimpleQueue[str] = SimpleQueue()
    with client_for(place) as client:
        client.connect()  # Nothing is asked yet, so here Ctrl-C leaves at once.
        with on_signals(_Asks(asked), *_SIGNALS):
            worker = client.post("/v1/workers", request)["worker"]["worker_id"]
            client.close()
            session = _Session(place, worker, as_json=as_json)
            _Controller(place, worker, asked, session.outage).start()
            session.forwarder = _forwarder(place, worker, launch, how)
            code = session.run()
            if how.remove:
                _remove(place, worker)
    return code


def _forwarder(place: Found, worker: str, launch: Launch, how: How) -> StdinForwarder | None:
    """What sends our stdin, if the worker is to have it."""
    if launch.script == "-":
        return StdinForwarder(place, worker, None, together=True)
    if sys.stdin is None or how.interactive or not sys.stdin.isatty():
        descriptor = None if sys.stdin is None else sys.stdin.fileno()
        return StdinForwarder(place, worker, descriptor, together=launch.speech == "text")
    return None


class _Session:
    """One worker from its creation to its end, on our stdout and stderr."""

    def __init__(self, runtime: Found, worker: str, *, as_json: bool) -> None:
        self._runtime = runtime
        self._worker = worker
        self._as_json = as_json
        self._exit: Json | None = None
        self._follower: Follower | None = None
        self._is_left = False
        self.outage = Outage(runtime, worker, on_gone=self._leave)
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

        with (
            following(self._runtime, self._worker, "earliest", on_expired="snapshot") as follower,
            self.outage.watched(),
        ):
            self._follower = follower
            copier = Copier(self._runtime, {} if self._as_json else self._copies(), follower.leave)
            if self.forwarder is not None:
                self.forwarder.start()
            try:
                for said in follower.everything():
                    self.outage.heard()
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

    def _leave(self) -> None:
        """It was abandoned and is gone; there is no room for the events that would say so."""
        assert self._follower is not None, "it is watched while it is followed"
        self._is_left = True
        self._follower.leave()

    def _see_phase(self, phase: str | None) -> None:
        if phase == "running" and self.forwarder is not None:
            self.forwarder.worker_runs()

    def _code(self) -> int:
        if self._is_left and self._exit is None:
            note(f"{self._worker} is gone; how it ended is told when there is room (watchglass status)")
            return INTERRUPTED
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

    def __init__(self, runtime: Found, worker: str, asked: SimpleQueue[str], outage: Outage) -> None:
        self._runtime = runtime
        self._worker = worker
        self._asked = asked
        self._outage = outage

    def start(self) -> None:
        """Begin; ends with the process."""
        threading.Thread(target=self._run, name="watchglass-signals", daemon=True).start()

    def _run(self) -> None:
        while True:
            act = self._asked.get()
            if act == "stop":
                note(f"stopping {self._worker}; Ctrl-C again cancels it at once")
                self._outage.hurry()
            else:
                note(f"cancelling {self._worker}; Ctrl-C again leaves it to the runtime")
                self._outage.abandon()
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


def _check(launch: Launch, how: How) -> None:
    """What contradicts each other. Raises UsageFault."""
    if how.detach and how.remove:
        raise UsageFault("--detach and --rm: nobody would be there to remove it")
    if how.task:
        _check_task(launch, how)
    elif launch.owner is not None:
        raise UsageFault("--owner: a task has one, and a worker has none; with --task")


def _check_task(launch: Launch, how: How) -> None:
    """What a task cannot be asked for. Raises UsageFault."""
    given = {
        "--interactive": how.interactive,
        "--detach": how.detach,
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
        client.connect()  # As above.
        code, task = run_task(runtime, client, asked)
    if remove:
        _remove(runtime, task)
    return code


def _remove(runtime: Found, worker: str) -> None:
    """Forget an ended worker. What keeps us from it changes nothing of how it ended."""
    try:
        with client_for(runtime) as client:
            client.delete(path_of(worker))
    except ClientFault as fault:
        if not (isinstance(fault, ApiError) and fault.code == "worker_not_found"):
            note(f"{worker} has ended, and is not removed: {fault}; remove it with: watchglass rm {worker}")


def _create_detached(runtime: Found, request: Json, *, as_json: bool) -> None:
    with client_for(runtime) as client:
        answer = client.post("/v1/workers", request)
    if as_json:
        write_document(answer)
    else:
        write_line(answer["worker"]["worker_id"])
