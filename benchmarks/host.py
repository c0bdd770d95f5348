"""What the host tells of processes: families, memory, cores, open files."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20


def rss_bytes(pid: int) -> int:
    """Resident memory of one process."""
    return _status_kib(pid, "VmRSS") * KIB


def peak_rss_bytes(pid: int) -> int:
    """The most that a process ever had resident, since its start or `forget_peak_rss`."""
    return _status_kib(pid, "VmHWM") * KIB


def forget_peak_rss(pid: int) -> None:
    """Begin the peak anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def pss_bytes(pid: int) -> int:
    """A process's own memory and its share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * KIB
    raise ValueError(f"process {pid} tells no Pss")


def cpu_s(pid: int) -> float:
    """Processor time of one process so far, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def running_s(pid: int) -> float:
    """The same of a process's first thread, to the nanosecond (kernel: scheduler/sched-stats)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def wait_at_rest(pid: int, *, rest_s: float = 0.1, timeout_s: float = 60.0) -> None:
    """Return when a process has taken no processor time for so long. Raises TimeoutError.

    What a server still does for clients that left is not to be in the next measurement on its core.
    """
    deadline_s = time.monotonic() + timeout_s
    taken_s = -1.0
    while taken_s < (taken_s := cpu_s(pid)):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"process {pid} does not come to rest")
        time.sleep(rest_s)


def children(*pids: int) -> Sequence[int]:
    """The processes whose parent is one of these."""
    return [child for child, parent in _parents().items() if parent in pids]


def spawn_daemon(server_pid: int) -> int:
    """The one child of a server that has launched a worker."""
    (daemon,) = children(server_pid)
    return daemon


def cores() -> tuple[int, int]:
    """A core for the server and one for its clients; the same one where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process on one core while the block runs; what it starts there stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_open_files() -> None:
    """Raise the soft limit as far as we may; servers that we start inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # It ended while we looked.
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"process {pid} tells no {name}")
