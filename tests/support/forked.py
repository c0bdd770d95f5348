"""Servers that are forked where their code is imported already: two thirds of a start are imports.

One `fork_server` for each process that runs tests, started with its first server.
What it forks runs the program's own `main` with the environment and the files that
an exec would have given it: a process of its own, to be signalled, waited for and
killed as any other. Yet its command line is that of the fork server, and so is what
`/proc` says of its environment; of its imports nothing is seen.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

_PROGRAM = Path(__file__).with_name("fork_server.py")


class Forked:
    """A `watchglass` of its own, with the words of `subprocess.Popen`."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], stderr: Path, stdout: Path = Path(os.devnull)
    ) -> None:
        """Start it with these arguments; stdin is /dev/null, and the files it writes to are there."""
        written = {"stdout": str(stdout), "stderr": str(stderr)}
        order = {"argv": [*argv], "env": {**env}, "cwd": str(Path.cwd()), **written}
        self.pid = _fork_server().answer(order)
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(self.pid)  # Nobody has this pid before we have it reaped.
        self._reaping = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, -N of signal N; None while it runs."""
        with self._reaping:
            if self.returncode is None and _has_ended(self._pidfd, 0):
                self.returncode = os.waitstatus_to_exitcode(_fork_server().answer({"reap": self.pid}))
                os.close(self._pidfd)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended. Raises TimeoutExpired after `timeout` seconds."""
        with self._reaping:
            if self.returncode is not None:
                return self.returncode
            pidfd = os.dup(self._pidfd)  # Another thread may reap it meanwhile.
        try:
            if not _has_ended(pidfd, timeout):
                raise subprocess.TimeoutExpired("watchglass", cast(float, timeout))
        finally:
            os.close(pidfd)
        return cast(int, self.poll())

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _ForkServer:
    """Our end of it; safe for threads."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        atexit.register(self._close)

    def answer(self, order: Mapping[str, Any]) -> int:
        """The number that an order is answered with."""
        with self._asking:
            orders, answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
            orders.write(json.dumps(order).encode() + b"\n")
            orders.flush()
            answer = answers.readline()
            assert answer, "the fork server is gone; its stderr says why"
            return int(answer)

    def _close(self) -> None:
        self._process.communicate()


@cache
def _fork_server() -> _ForkServer:
    return _ForkServer()


def _has_ended(pidfd: int, timeout_s: float | None) -> bool:
    poll = select.poll()  # Unlike select(2), for descriptors of any number.
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
