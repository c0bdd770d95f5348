"""A runtime of our own for a while: a `watchglass serve` with a state directory of its own.

After the block none of its processes is left, whatever happened inside it; what
did not leave by itself is named by `leftovers` before it is killed.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from watchglass.client.address import Address
from watchglass.client.finding import Choice, find
from watchglass.client.local import start_ticks

from .faults import CliError
from .interrupts import Interrupts

START_TIMEOUT_S: Final = 20.0
LEAVE_TIMEOUT_S: Final = 8.0
HURRY_TIMEOUT_S: Final = 4.0
_SAID_BYTES_MAX: Final = 64 << 10


class OwnRuntime:
    """A running server, and every process of it that was seen."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="watchglass-demo-")
        self._process = _started(self._directory)
        self._seen: dict[int, int] = {}  # Start ticks by pid: a number may come again.
        self.leftovers: list[str] = []
        self.exit_code: int | None = None

    def wait_listening(self) -> None:
        """Return when it takes requests. Raises CliError."""
        _wait_listening(self._process)

    @property
    def address(self) -> Address:
        """Where it listens."""
        return find(Choice(), {"WATCHGLASS_STATE_DIR": self._directory}).address

    def look(self) -> int:
        """Remember all its processes that are there now; how many were ever seen."""
        for pid in _descendants(self._process.pid):
            ticks = start_ticks(pid)
            if ticks is not None:
                self._seen[pid] = ticks
        return len(self._seen)

    def leave(self) -> None:
        """Stop the server, then see what is left of it, and end that too."""
        self.look()
        for patience_s in (LEAVE_TIMEOUT_S, HURRY_TIMEOUT_S):
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
                break
        else:
            self.leftovers.append(f"{self._process.pid} (the server)")
            self._process.kill()
        self.exit_code = self._process.wait()
        for pid, ticks in self._seen.items():
            if _runs(pid, ticks):
                self.leftovers.append(f"{pid} ({_name(pid)})")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert self._process.stderr is not None
        self._process.stderr.close()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def own_runtime(interrupt: Interrupts) -> Iterator[OwnRuntime]:
    """A server on a free port. Raises CliError when it does not come up."""
    runtime: OwnRuntime | None = None
    try:
        with interrupt.held():
            runtime = OwnRuntime()
        runtime.wait_listening()
        yield runtime
    finally:
        if runtime is not None:
            with interrupt.held():
                runtime.leave()


def _started(directory: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "watchglass.server.cli",
            "serve",
            "--store",
            "memory",
            "--display-name",
            "demo",
        ],
        env={**os.environ, "WATCHGLASS_STATE_DIR": directory},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us, who then end it in order.
    )


def _wait_listening(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    said, deadline = b"", time.monotonic() + START_TIMEOUT_S
    while b"watchglass listening on " not in said:
        ready, _, _ = select.select([process.stderr], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(process.stderr.fileno(), _SAID_BYTES_MAX) if ready else b""
        if not piece or len(said) > _SAID_BYTES_MAX:
            why = said.decode(errors="replace").strip() or f"nothing within {START_TIMEOUT_S:.0f} s"
            raise CliError(f"the demo's runtime did not start: {why}")
        said += piece


def _descendants(ancestor: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(int(entry.name)), []).append(int(entry.name))
    found = [ancestor]
    for pid in found:  # It grows while it is walked.
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    return int((_stat(pid) or ["", "0"])[1])


def _runs(pid: int, ticks: int) -> bool:
    """Whether this very process is still there, and is more than an entry that nobody has waited for."""
    return start_ticks(pid) == ticks and (_stat(pid) or ["Z"])[0] != "Z"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone by now"
