"""The command line `watchglass`: which commands there are, and how a command ends.

A command that asks a runtime something starts in a quarter of a second, so what
is heavy (pydantic, the server, rich, websockets, even http.client) is imported
by the command that needs it, when it needs it; commands themselves are, too.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from watchglass import __version__
from watchglass.client.faults import ApiError, ClientFault

from .contents import Contents
from .faults import BROKEN_PIPE, EXIT_CODES, INTERRUPTED, CliError, ExitCode, UsageFault, as_option, exit_code
from .manual import SETTINGS
from .showing import one_line
from .wording import REFUSED, command_of, worded

app = typer.Typer(
    name="watchglass",
    cls=Contents,
    help="""Run agent workers under glass.

    Every worker is a real process; everything that it says is an event in a journal; you can watch it from
    any point, leave, come back, and miss nothing. Begin with 'watchglass demo', or with 'watchglass serve'
    in one terminal and 'watchglass run -- PROGRAM' in another one.""",
    epilog=f"\b\n{EXIT_CODES}",
    context_settings=SETTINGS,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    _open_what_is_closed()
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
    except REFUSED as fault:
        return _tell(f"{worded(fault)}; try '{command_of(fault, 'watchglass')} --help'", ExitCode.USAGE)
    except ApiError as fault:
        return _tell(as_option(fault), exit_code(fault))
    except (CliError, ClientFault) as fault:
        return _tell(str(fault), exit_code(fault))
    except OSError as fault:  # Such as a full disk behind our stdout.
        return _tell(_system_word(fault), ExitCode.FAILED)
    return code


def _run(arguments: Sequence[str]) -> int:
    """Parse and call. Not through typer's own `main`, which would end the process by itself."""
    program = typer.main.get_command(app)
    with program.make_context("watchglass", list(arguments)) as context:
        try:
            program.invoke(context)
        except UsageFault as fault:
            fault.command = _command(context)
            raise
        except REFUSED as fault:
            told = UsageFault(worded(fault))
            told.command = command_of(fault, _command(context))
            raise told from None
    return ExitCode.OK


def _command(context: Any) -> str:
    """What was asked for: a command, or the program itself."""
    name = context.invoked_subcommand
    return str(context.command_path) if name is None else f"{context.command_path} {name}"


def _open_what_is_closed() -> None:
    """Who starts us without a stdout or stderr wants neither; no socket of ours may take its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest one that is free is this one.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _write_any_text() -> None:
    """A worker may say what our locale has no letters for, and all of what it says is to be written."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(getattr(stream, "buffer", None), io.RawIOBase):
            setattr(sys, name, _buffered(stream))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _buffered(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same with a buffer, where PYTHONUNBUFFERED has taken it away.

    A raw stream drops what a write leaves out that a signal interrupts (write(2)).
    """
    encoding = stream.encoding
    writer = io.BufferedWriter(cast(io.RawIOBase, stream.detach()))
    return io.TextIOWrapper(writer, encoding=encoding, errors="backslashreplace", line_buffering=True)


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _silenced()
    except OSError as fault:
        if not code:  # Else something has been said already, and most often this.
            print(f"watchglass: error: {_system_word(fault)}", file=sys.stderr)
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


def _system_word(fault: OSError) -> str:
    """Which file, where it is one, and what is wrong with it; no number of an error."""
    said = fault.strerror or str(fault)
    return said if fault.filename is None else f"{fault.filename}: {said}"


if __name__ == "__main__":
    sys.exit(main())
