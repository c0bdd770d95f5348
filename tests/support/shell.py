"""The command line as a user runs it: a process of its own, beside a real server."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watchglass.server.cli.main import main

from .patience import PATIENCE_S
from support.serving import Served, environment, watchglass


def command(
    state_dir: Path,
    *argv: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end."""
    return subprocess.run(
        watchglass(*argv),
        input=stdin,
        env=environment(state_dir, env),
        cwd=cwd,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


def said_on_terminal(state_dir: Path, *argv: str, env: Mapping[str, str]) -> str:
    """What a command shows on a terminal, which it takes for one; it succeeds."""
    code, said = on_terminal(state_dir, *argv, stdin=subprocess.DEVNULL, env=env)
    assert code == 0
    return said


def on_terminal(
    state_dir: Path, *argv: str, stdin: int | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and what a terminal shows of stdout and stderr; without a `stdin` it is the terminal too."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        watchglass(*argv),
        env=environment(state_dir, env),
        stdin=theirs if stdin is None else stdin,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:
            pass  # EIO: the other side is closed.
        os.close(ours)
    return process.returncode, said.decode()


@contextmanager
def started(
    state_dir: Path, *argv: str, env: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on; killed at the end of the block when it is still there."""
    with subprocess.Popen(
        watchglass(*argv),
        env=environment(state_dir, env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes], number: signal.Signals | None = None) -> tuple[int, str, str]:
    """Send a signal, wait for the end: exit code, stdout, stderr."""
    if number is not None:
        process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.decode(), err.decode()


def read_until(
    process: subprocess.Popen[bytes], text: bytes, *, stream: str = "stdout", said: bytes = b""
) -> bytes:
    """What it wrote, up to the piece with the end of `text`; `said` is what was read of it before."""
    pipe = getattr(process, stream)
    while text not in said:
        piece = os.read(pipe.fileno(), 65536)
        assert piece, f"it ended before it said {text!r}: {said!r}"
        said += piece
    return said


class Shell:
    """Commands against one server.

    A call runs a process. The other methods expect success and, unless they
    need a stdin, a folder or an environment, call `main` here: they are the
    steps of a test, and there are many of them.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.state_dir = served.state_dir

    def __call__(self, *argv: str, stdin: bytes = b"", **more: Any) -> subprocess.CompletedProcess[bytes]:
        return command(self.state_dir, *argv, stdin=stdin, **more)

    def text(self, *argv: str, **more: Any) -> str:
        """The stdout of a command that must succeed."""
        if more or argv[0] == "run":
            done = self(*argv, **more)
            code, out, err = done.returncode, done.stdout.decode(), done.stderr.decode()
        else:
            code, out, err = here(self.state_dir, argv)
        assert code == 0, err
        return out

    def json(self, *argv: str, **more: Any) -> Any:
        """The document of a command that must succeed."""
        return json.loads(self.text(argv[0], "--json", *argv[1:], **more))

    def lines(self, *argv: str, **more: Any) -> list[Any]:
        """The objects of a command that prints one a line."""
        return [json.loads(line) for line in self.text(argv[0], "--json", *argv[1:], **more).splitlines()]

    def create(self, *argv: str, **more: Any) -> str:
        """A new worker's id."""
        return self.text("create", *argv, **more).strip()

    def wait_ended(self, worker: str) -> Any:
        """The worker as it is when it has ended."""
        self.text("events", "-f", worker)
        return self.json("status", worker)["worker"]


def here(state_dir: Path, argv: Sequence[str]) -> tuple[int, str, str]:
    """Run a command in this process: exit code, stdout, stderr."""
    out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment(state_dir, {"PATH": before["PATH"]}))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return code, *(stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[return-value]
