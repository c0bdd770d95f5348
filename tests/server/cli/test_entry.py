"""Ctrl-C before the command line is there, and when it is over: an exit code, and no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.serving import environment, watchglass

END_S = 30
WAITS = 'import sys; print("here", flush=True); sys.stdin.read()'
ENDS_LATE = f"""
import atexit, sys
from watchglass.server.cli.entry import main
atexit.register(lambda: exec({WAITS!r}))
sys.exit(main())
"""


@contextmanager
def begun(tmp_path: Path, *command: str, path: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has come to where it waits."""
    env = environment(tmp_path / "state", None if path is None else {"PYTHONPATH": str(path)})
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert b"here\n" in iter(process.stdout.readline, b"")
        yield process


def interrupted(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Its exit code after SIGINT, and what it said."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=END_S)
    return process.returncode, said


def test_an_interrupt_while_the_command_line_is_loaded_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(WAITS)
    with begun(tmp_path, *watchglass("ps"), path=tmp_path) as process:
        assert interrupted(process) == (130, b"")


def test_an_interrupt_behind_the_end_leaves_the_exit_code_as_it_was(tmp_path: Path) -> None:
    with begun(tmp_path, sys.executable, "-c", ENDS_LATE, "no-such-command") as process:
        code, said = interrupted(process)
    assert (code, len(said.splitlines())) == (2, 1)
