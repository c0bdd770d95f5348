"""Why a worker ended, as a decision: the first of these that holds.

    it was made to leave   the ladder's cause; what it did then is its answer to that
    cpu_time               its tree used up its CPU time, whether or not we looked in that moment;
                           or SIGXCPU, by the clock of the kernel, which counts ticks
    memory                 the kernel killed in its group for want of memory: itself, or another
                           process of its tree, whatever the leader made of that
    exit 0                 none: it coped with whatever else it met
    file_size              SIGXFSZ, and it had a bound on the size of files
    pids                   a fork was refused at `pids_max`, and it gave up: any code but 0, or SIGABRT
    none                   any other end is its own

Want of memory is read from the kernel's counter: a SIGKILL or an exit 137 proves nothing,
and neither does an exit 0. So it is the same on hosts where the kernel kills the whole
group for it (v2), and on those where it kills one process (v1).
"""

from __future__ import annotations

import signal

from .ladder import CPU_TIME, MEMORY

FILE_SIZE = "file_size"
PIDS = "pids"


def cause_of_end(
    status: int,
    *,
    asked: str | None,
    cpu_limit_s: int | None,
    cpu_used_s: float,
    has_file_size_limit: bool,
    oom_kills: int,
    forks_refused: int,
) -> str | None:
    """The cause, for a leader's `status` as `os.waitstatus_to_exitcode` gives it."""
    if asked is not None:
        return asked
    if cpu_limit_s is not None and (cpu_used_s >= cpu_limit_s or status == -signal.SIGXCPU):
        return CPU_TIME
    if oom_kills:
        return MEMORY
    if status == 0:
        return None
    if has_file_size_limit and status == -signal.SIGXFSZ:
        return FILE_SIZE
    if forks_refused and (status > 0 or status == -signal.SIGABRT):
        return PIDS
    return None
