"""The command line as a user runs it: a process of its own, beside a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.serving import Served, environment, watchglass

COMMAND_S = 30


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
        timeout=COMMAND_S,
        check=False,
    )


@contextmanager
def started(
    state_dir: Path, *argv: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on; killed at the end of the block when it is still there."""
    with subprocess.Popen(
        watchglass(*argv),
        env=environment(state_dir, env),
        stdin=subprocess.DEVNULL,
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
    out, err = process.communicate(timeout=COMMAND_S)
    return process.returncode, out.decode(), err.decode()


def read_until(process: subprocess.Popen[bytes], text: bytes, *, stream: str = "stdout") -> bytes:
    """What it wrote, up to and with `text`."""
    pipe = getattr(process, stream)
    said = b""
    while text not in said:
        piece = os.read(pipe.fileno(), 65536)
        assert piece, f"it ended before it said {text!r}: {said!r}"
        said += piece
    return said


class Shell:
    """Commands against one server."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.state_dir = served.state_dir

    def __call__(self, *argv: str, stdin: bytes = b"", **more: Any) -> subprocess.CompletedProcess[bytes]:
        return command(self.state_dir, *argv, stdin=stdin, **more)

    def text(self, *argv: str, **more: Any) -> str:
        """The stdout of a command that must succeed."""
        done = self(*argv, **more)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def json(self, *argv: str, **more: Any) -> Any:
        """The document of a command that must succeed."""
        return json.loads(self.text(*argv, "--json", **more))

    def lines(self, *argv: str, **more: Any) -> list[Any]:
        """The objects of a command that prints one a line."""
        return [json.loads(line) for line in self.text(*argv, "--json", **more).splitlines()]

    def create(self, *argv: str, **more: Any) -> str:
        """A new worker's id."""
        return self.text("create", *argv, **more).strip()

    def wait_ended(self, worker: str) -> Any:
        """The worker as it is when it has ended."""
        self("attach", worker)
        return self.json("status", worker)["worker"]
