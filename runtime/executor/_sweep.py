"""The last resort: find a worker's processes by the cookie in their environment, and kill them.

For when the supervisor was killed, and perhaps the spawn daemon too. It finds
every process that kept the environment it was started with; one that cleared it
is found only by the spawn daemon, through its parents.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

SWEEP_S_MAX = 5.0
"""What lives after so many seconds of SIGKILL is stuck in the kernel."""

_PAUSE_S = 0.002


def sweep(cookie: str) -> int:
    """Kill every process with `cookie` in its environment until none is left; return how many there were.

    Blocks for up to SWEEP_S_MAX seconds: to be called in a thread.
    """
    entry = os.fsencode(cookie)
    killed: set[int] = set()
    give_up_at = time.monotonic() + SWEEP_S_MAX
    while found := _kill_all(entry):
        killed |= found
        if time.monotonic() > give_up_at:
            break
        time.sleep(_PAUSE_S)
    return len(killed)


def _kill_all(entry: bytes) -> set[int]:
    return {pid for pid in _pids() if _kill_if_marked(pid, entry)}


def _pids() -> list[int]:
    own = os.getpid()
    return [
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != own
    ]


def _kill_if_marked(pid: int, entry: bytes) -> bool:
    """The descriptor is opened before the environment is read, so both are of one process."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # Gone, or a kernel thread.
        return False
    try:
        if entry not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:  # Gone, or somebody else's.
        return False
    finally:
        os.close(pidfd)
    return True
