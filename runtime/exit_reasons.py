"""The contract's word for how a worker's process ended; the first of these that holds.

    lost             nobody saw it
    cancelled        it was abandoned, whatever else happened meanwhile
    see `_LIMITS`    it passed a limit, before it was asked to leave
    stopped          it was asked to leave
    signalled        a signal ended it that neither we nor a limit sent
    exited           by itself

What its limits did to it, and what of its bytes did not arrive, is told beside that,
in alerts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from watchglass.protocol.execution import Usage
from watchglass.protocol.lifecycle import Cue

from .executor import ProcessExit

_LIMITS: Final = {
    "wall_time": "timeout",
    "cpu_time": "cpu_limit_exceeded",
    "memory": "memory_limit_exceeded",
    "file_size": "resource_limit_exceeded",
    "pids": "resource_limit_exceeded",
}


def reason_of(asked: Cue | None, seen: ProcessExit) -> str:
    """`asked` is the strongest request so far, STOP or CANCEL."""
    if seen.cause == "lost":
        return "lost"
    if asked is Cue.CANCEL:
        return "cancelled"
    if seen.cause in _LIMITS:
        return _LIMITS[seen.cause]
    if asked is Cue.STOP:
        return "stopped"
    return "exited" if seen.signal is None else "signalled"


def limits_met(seen: ProcessExit) -> Iterator[str]:
    """What its limits did to its processes, for people; also when it ended by something else."""
    if seen.usage is None:
        return
    if seen.usage.oom_kills:
        yield f"the kernel killed {seen.usage.oom_kills} of its processes for want of memory"
    if seen.usage.forks_refused:
        times = "once" if seen.usage.forks_refused == 1 else f"{seen.usage.forks_refused} times"
        yield f"its bound on processes refused it a new one {times}"


def alerts_of(seen: ProcessExit) -> Iterator[str]:
    """What an observer must know of limits, and of bytes that did not arrive where they were meant to."""
    yield from limits_met(seen)
    for stream, sizes in (("stdout", seen.stdout), ("stderr", seen.stderr)):
        if sizes.is_truncated:
            yield (
                f"{stream} had {sizes.total_bytes} bytes, of which the first {sizes.kept_bytes} were kept"
                + ("" if seen.output_errno is None else f": {os.strerror(seen.output_errno)}")
            )
    if seen.undelivered_input_bytes:
        yield f"{seen.undelivered_input_bytes} bytes of accepted input were not read by the process"


def usage_of(seen: ProcessExit) -> Usage | None:
    """What a worker used, as answers tell it; None when nobody saw its end."""
    if seen.usage is None:
        return None
    return Usage(
        duration_ms=seen.usage.duration_ms,
        user_cpu_ms=seen.usage.user_cpu_ms,
        system_cpu_ms=seen.usage.system_cpu_ms,
        max_rss_bytes=seen.usage.max_rss_bytes,
        memory_peak_bytes=seen.usage.memory_peak_bytes,
        oom_kills=seen.usage.oom_kills,
        forks_refused=seen.usage.forks_refused,
    )
