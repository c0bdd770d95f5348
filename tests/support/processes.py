"""Processes of this machine, by what /proc says of them."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from os import close, getpid, pidfd_open
from pathlib import Path

from .patience import PATIENCE_S


def marked(runtime_id: str, worker_id: str | None = None) -> set[int]:
    """Processes that carry the cookie of a worker of this runtime (of this worker)."""
    prefix = f"WATCHGLASS_WORKER={runtime_id}/".encode()
    entry = prefix if worker_id is None else prefix + worker_id.encode()
    return {pid for pid in pids() if any(_is_marked(pair, entry, worker_id) for pair in _environ(pid))}


def pids() -> list[int]:
    """Everything that runs; who is dead and waits for its parent does not."""
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in found if _state(pid) not in {"Z", "X", ""}]


def holding(folder: Path) -> set[int]:
    """Processes but our own that have a file below this folder open, or stand in it."""
    return {pid for pid in pids() if pid != getpid() and _holds(pid, folder)}


def rss_bytes(pid: int) -> int:
    """The resident memory of a process."""
    return _status_bytes(pid, "VmRSS:")


def peak_rss_bytes(pid: int) -> int:
    """The most that was ever resident of it."""
    return _status_bytes(pid, "VmHWM:")


def children(pid: int) -> list[int]:
    """Direct children of a process, of any of its threads."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # The thread has ended by now.
            found += [int(child) for child in path.read_text().split()]
    return found


def parent(pid: int) -> int:
    """Whose child a process is."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_gone(pid: int) -> None:
    """Return when a process has ended; the pidfd tells."""
    try:
        pidfd = pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([pidfd], [], [], PATIENCE_S)
        assert ended, f"process {pid} is still there"
    finally:
        close(pidfd)


def described(found: Iterable[int]) -> str:
    """What these processes are, for whoever reads that they should be gone."""
    words = (Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in found)
    return ", ".join(f"{pid} ({_state(pid)}) {word}" for pid, word in zip(found, words, strict=True))


def wait_true(
    condition: Callable[[], bool], what: str | Callable[[], str], timeout_s: float = PATIENCE_S
) -> None:
    """Look at /proc, which tells nobody of its changes, until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, (
            f"after {timeout_s} s: {what if isinstance(what, str) else what()}"
        )
        time.sleep(0.01)


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal was sent to the process and has not reached it, see proc_pid_status(5)."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(told["ShdPnd"], 16) >> (number - 1) & 1)


def _status_bytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _holds(pid: int, folder: Path) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        links = [process / "cwd", *(process / "fd").iterdir()]
    except OSError:
        return False
    for link in links:
        with suppress(OSError):  # Closed by now, or it ended.
            if link.readlink().is_relative_to(folder):
                return True
    return False


def _is_marked(pair: bytes, entry: bytes, worker_id: str | None) -> bool:
    return pair.startswith(entry) if worker_id is None else pair == entry
