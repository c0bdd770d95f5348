"""The command line `watchglass`: which commands there are, and how a command ends.

A command that asks a runtime something starts in a quarter of a second, so what
is heavy (pydantic, the server, rich, websockets, even http.client) is imported
by the command that needs it, when it needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from watchglass import __version__
from watchglass.client.faults import ClientFault

from . import demo, driving, reading, running, serving, watching
from .faults import BROKEN_PIPE, EXIT_CODES, INTERRUPTED, CliError, ExitCode, UsageFault, exit_code
from .manual import application, command
from .showing import one_line

_REFUSED = cast(type[Exception], typer.BadParameter.__mro__[2])
"""The base of what typer raises for a wrong command line; typer has no public name for it."""

app = application(
    """Run agent workers under glass.

    Every worker is a real process; everything that it says is an event in a journal; you can watch it from
    any point, leave, come back, and miss nothing. Begin with 'watchglass demo', or with 'watchglass serve'
    in one terminal and 'watchglass run -- PROGRAM' in another one.""",
    EXIT_CODES,
)


@app.callback(invoke_without_command=True)
def _begin(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"watchglass {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


_RUN, _WATCH, _DRIVE, _RUNTIME = "Start workers", "Watch workers", "Drive workers", "The runtime"

command(app, "run", _RUN, "watchglass run -- python agent.py", "watchglass run --rm -- cat < notes.txt",
        "watchglass run -e API_KEY --wall-time 10m -- ./agent --fast")(running.run)  # fmt: skip
command(app, "create", _RUN, "watchglass create -- python agent.py", "watchglass create --id echo -- cat",
        "watchglass create --passive --label team=blue")(driving.create)  # fmt: skip
command(app, "ps", _WATCH, "watchglass ps", "watchglass ps --phase failed --label team=blue",
        "watchglass rm $(watchglass ps -q --status stopped)")(reading.ps)  # fmt: skip
command(app, "attach", _WATCH, "watchglass attach WORKER",
        "watchglass attach WORKER --cursor wo_00064a2b3c4d5e6f")(watching.attach)  # fmt: skip
command(app, "logs", _WATCH, "watchglass logs WORKER > out.bin", "watchglass logs -f --stderr WORKER")(
    watching.logs
)
command(app, "events", _WATCH, "watchglass events WORKER", "watchglass events -f --json WORKER | jq .payload",
        "watchglass events WORKER --cursor wo_00064a2b3c4d5e6f")(watching.events)  # fmt: skip
command(app, "transcript", _WATCH, "watchglass transcript WORKER",
        "watchglass transcript --json WORKER | jq .transcript.items")(reading.transcript)  # fmt: skip
command(app, "status", _WATCH, "watchglass status", "watchglass status WORKER")(reading.status)
command(app, "explain", _WATCH, "watchglass explain WORKER")(reading.explain)
command(app, "input", _DRIVE, "watchglass input WORKER hello there",
        "git diff | watchglass input WORKER")(driving.send_input)  # fmt: skip
command(app, "interrupt", _DRIVE, "watchglass interrupt WORKER")(driving.interrupt)
command(app, "signal", _DRIVE, "watchglass signal WORKER SIGUSR1")(driving.send_signal)
command(app, "close-stdin", _DRIVE, "watchglass close-stdin WORKER")(driving.close_stdin)
command(
    app, "stop", _DRIVE, "watchglass stop WORKER", "watchglass stop $(watchglass ps -q --status running)"
)(driving.stop)
command(app, "cancel", _DRIVE, "watchglass cancel WORKER")(driving.cancel)
command(app, "rm", _DRIVE, "watchglass rm WORKER", "watchglass rm --force WORKER")(driving.remove)
command(app, "serve", _RUNTIME, "watchglass serve", "watchglass serve --bind 127.0.0.1:8080 --log-level info",
        "watchglass serve --bind 0.0.0.0:8080 --local-token-file /run/secrets/watchglass")(
    serving.serve
)  # fmt: skip
command(app, "demo", _RUNTIME, "watchglass demo")(demo.demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    _write_any_text()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except typer.Exit as ended:
        return _flushed(ended.exit_code)
    except BrokenPipeError:
        return _silenced()
    except KeyboardInterrupt:
        return INTERRUPTED
    except UsageFault as fault:
        return _tell(f"{fault}; try '{fault.command} --help'", ExitCode.USAGE)
    except _REFUSED as fault:
        return _tell(f"{_worded(fault)}; try '{_command_of(fault)} --help'", ExitCode.USAGE)
    except (CliError, ClientFault) as fault:
        return _tell(str(fault), exit_code(fault))
    except OSError as fault:  # Such as a full disk behind our stdout.
        return _tell(str(fault), ExitCode.FAILED)
    return code


def _run(arguments: Sequence[str]) -> int:
    """Parse and call. Not through typer's own `main`, which would end the process by itself."""
    program = typer.main.get_command(app)
    with program.make_context("watchglass", list(arguments)) as context:
        try:
            program.invoke(context)
        except UsageFault as fault:
            fault.command = f"{context.command_path} {context.invoked_subcommand}"
            raise
    return ExitCode.OK


def _write_any_text() -> None:
    """A worker may say what our locale has no letters for."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _silenced()
    except OSError as fault:
        print(f"watchglass: error: {fault}", file=sys.stderr)
        _silenced()
        return code or ExitCode.FAILED
    return code


def _silenced() -> int:
    """Nobody reads our output any more: no word about it, and none at the interpreter's end either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return BROKEN_PIPE


def _tell(text: str, code: int) -> int:
    print(f"watchglass: error: {one_line(text)}", file=sys.stderr)
    return _flushed(code)


def _worded(refusal: Any) -> str:
    """What typer says, as a part of our line."""
    said = " ".join(refusal.format_message().split()).rstrip(".")
    return said[:1].lower() + said[1:]


def _command_of(refusal: Any) -> str:
    context = refusal.ctx
    return "watchglass" if context is None else str(context.command_path)


if __name__ == "__main__":
    sys.exit(main())
