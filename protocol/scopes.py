"""What a token may do: one decision, and the words for it.

    observe   read: workers, their journals, transcripts and output, tasks, the runtime
    drive     also change: create, say, stop, remove, submit, kill
    admin     also what touches the runtime as a whole: drain, probe, import

Each has what stands before it. A token may be bound to one worker: then there
is no other worker for it, and nothing of the runtime as a whole.

| the endpoint is of | token for all workers   | bound to that worker    | bound to another one    |
|--------------------|-------------------------|-------------------------|-------------------------|
| WORKER             | allowed, or its scope   | allowed, or its scope   | FOREIGN                 |
| LIST               | allowed, or its scope   | allowed, or its scope (shows its own worker alone) ||
| RUNTIME            | allowed, or its scope   | MISSING_SCOPE           | MISSING_SCOPE           |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class TokenScope(StrEnum):
    """How much a token may do."""

    OBSERVE = "observe"
    DRIVE = "drive"
    ADMIN = "admin"

    def includes(self, other: TokenScope) -> bool:
        """Whether whoever has this one may do what needs the other one."""
        return _LADDER.index(self) >= _LADDER.index(other)


_LADDER: Final = tuple(TokenScope)


class Reach(Enum):
    """What an endpoint is of."""

    WORKER = "worker"
    """One worker, or task, which its path names."""
    LIST = "list"
    """Many workers: who is bound to one sees that one."""
    RUNTIME = "runtime"
    """The runtime as a whole."""


@dataclass(frozen=True, slots=True)
class Need:
    """What an endpoint asks of a token."""

    scope: TokenScope
    reach: Reach


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token gives; `worker_id` None: for all workers."""

    scope: TokenScope
    worker_id: str | None = None


EVERYTHING: Final = Grant(TokenScope.ADMIN)
DENIED_TO_MOST: Final = Need(TokenScope.ADMIN, Reach.RUNTIME)
"""Of whatever says nothing else."""


class Verdict(Enum):
    """Whether it may be done."""

    ALLOWED = "allowed"
    FOREIGN = "foreign"
    """There is no such worker, for this token."""
    MISSING_SCOPE = "missing_scope"


def decide(grant: Grant, need: Need, worker_id: str | None = None) -> Verdict:
    """Whether a token may do what an endpoint does; `worker_id` is the one that its path names."""
    bound = grant.worker_id
    if bound is not None and need.reach is Reach.WORKER and bound != worker_id:
        return Verdict.FOREIGN
    if bound is not None and need.reach is Reach.RUNTIME:
        return Verdict.MISSING_SCOPE
    return Verdict.ALLOWED if grant.scope.includes(need.scope) else Verdict.MISSING_SCOPE
