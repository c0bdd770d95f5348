"""A runtime of our own for a while: a `watchglass serve` with a state directory of its own.

After the block none of its processes is left, whatever happened inside it; what
did not leave by itself is named by `leftovers` before it is killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from watchglass.client.address import Address
from watchglass.server.local import start_ticks

from .faults import CliError
from .finding import Choice, find

START_TIMEOUT_S: Final = 20.0
LEAVE_TIMEOUT_S: Final = 8.0
HURRY_TIMEOUT_S: Final = 4.0
_SAID_BYTES_MAX: Final = 64 << 10


@dataclass(slots=True)
class OwnRuntime:
    """A running server, and every process of it that was seen."""

    address: Address
    process: subprocess.Popen[bytes]
    leftovers: list[str] = field(default_factory=list)
    exit_code: int | None = None
    _seen: dict[int, int] = field(default_factory=dict)

    def look(self) -> int:
        """Remember all its processes that are there now; how many were ever seen."""
        for pid in _descendants(self.process.pid):
            ticks = start_ticks(pid)
            if ticks is not None:
                self._seen[pid] = ticks
        return len(self._seen)

    def leave(self) -> None:
        """Stop the server, then see what is left of it, and end that too."""
        self.look()
        for patience_s in (LEAVE_TIMEOUT_S, HURRY_TIMEOUT_S):
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
                break
        else:
            self.leftovers.append(f"{self.process.pid} (the server)")
            self.process.kill()
        self.exit_code = self.process.wait()
        for pid, ticks in self._seen.items():
            if _runs(pid, ticks):
                self.leftovers.append(f"{pid} ({_name(pid)})")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def own_runtime() -> Iterator[OwnRuntime]:
    """Start a server on a free port. Raises CliError when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="watchglass-demo-") as directory:
        environ = {**os.environ, "WATCHGLASS_STATE_DIR": directory}
        process = subprocess.Popen(
            [sys.executable, "-m", "watchglass.server.cli", "serve", "--display-name", "demo"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, who then end it in order.
        )
        runtime = OwnRuntime(Address("http://127.0.0.1:1"), process)
        try:
            _wait_listening(process)
            runtime.address = find(Choice(), {"WATCHGLASS_STATE_DIR": directory}).address
            yield runtime
        finally:
            runtime.leave()
            assert process.stderr is not None
            process.stderr.close()


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
