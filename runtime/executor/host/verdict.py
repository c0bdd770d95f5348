"""Why a worker ended, as a decision: the first of these that holds.

it was made to leave      the ladder's cause; what it did then is its answer to that
exit 0                    none: it coped with whatever it met
cpu_time                  SIGXCPU, and it had a budget of CPU time: the kernel was faster than we
memory                    the kernel killed in its group for want of memory: itself, or what it
                          could not do without. That is read from the kernel's counter; a SIGKILL
                          or an exit 137 alone prove nothing
file_size                 SIGXFSZ, and it had a bound on the size of files
pids                      a fork was refused at `pids_max`, and it gave up: any code but 0, or SIGABRT
none                      any other end is its own
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
    has_cpu_limit: bool,
    has_file_size_limit: bool,
    oom_kills: int,
    forks_refused: int,
) -> str | None:
    """The cause, for a leader's `status` as `os.waitstatus_to_exitcode` gives it."""
    if asked is not None or status == 0:
        return asked
    if has_cpu_limit and status == -signal.SIGXCPU:
        return CPU_TIME
    if oom_kills:
        return MEMORY
    if has_file_size_limit and status == -signal.SIGXFSZ:
        return FILE_SIZE
    if forks_refused and (status > 0 or status == -signal.SIGABRT):
        return PIDS
    return None
