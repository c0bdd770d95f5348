"""How a worker is made to leave, as a decision without a clock: ask, wait, force.

    cause      by                            first          then
    stop       the server                    SIGTERM        SIGKILL after the grace
    wall_time  its own deadline              SIGTERM        SIGKILL after the grace
    cpu_time   its budget of CPU time        SIGXCPU        SIGKILL 2 seconds later
    memory     its budget of memory, where no control group holds it: SIGKILL
    kill       the server                    SIGKILL
    lease      the server's end of the channel closed: SIGKILL, unless the worker outlives it

Kill and lease replace what is above them, never the reverse; the first four do
not replace each other. Asking twice can only shorten the grace.
Times are seconds on any clock that does not go back.
"""

from __future__ import annotations

STOP = "stop"
WALL_TIME = "wall_time"
CPU_TIME = "cpu_time"
MEMORY = "memory"
KILL = "kill"
LEASE = "lease"

_RANK = {None: 0, STOP: 1, WALL_TIME: 1, CPU_TIME: 1, MEMORY: 1, KILL: 2, LEASE: 3}


class Ladder:
    """Why the worker has to leave, and from when on by force."""

    __slots__ = ("cause", "force_at")

    def __init__(self) -> None:
        self.cause: str | None = None
        self.force_at: float | None = None

    def ask(self, cause: str, *, now: float, grace_s: float) -> bool:
        """Ask it to leave; True when this is the first time, and the signal is due."""
        first = self.cause is None
        if first:
            self.cause = cause
        force_at = now + grace_s
        self.force_at = force_at if self.force_at is None else min(self.force_at, force_at)
        return first

    def force(self, cause: str, *, now: float) -> None:
        """Make it leave now."""
        if _RANK[cause] > _RANK[self.cause]:
            self.cause = cause
        self.force_at = now if self.force_at is None else min(self.force_at, now)
