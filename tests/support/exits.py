"""How the end of a program in a sandbox is told on this kernel: before Linux 6.15 only as its shell would."""

from __future__ import annotations

import os
import subprocess
from functools import cache

from watchglass.runtime.executor.host.inside import exit_status


def told_from_inside(code: int | None, number: int | None) -> tuple[int | None, int | None]:
    """Code and signal as they are told of a program that ended so; see `exit.exact` in docs/sandbox.md."""
    return (code, number) if number is None or tells_exits() else (128 + number, None)


@cache
def tells_exits() -> bool:
    """Whether the kernel tells how a process ended to one who is not its parent."""
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
        process.wait()
    try:
        return exit_status(pidfd) is not None
    finally:
        os.close(pidfd)
