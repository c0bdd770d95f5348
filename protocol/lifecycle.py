"""A worker's life, as a table to lay beside the contract.

`accepted` waits for the ledger; `starting` has its reservation; an ended
worker stays as it ended. `stop` asks a worker to leave, `cancel` abandons it;
both lead through `stopping`, because nothing has ended before its process tree
is empty. What it ended as is decided by `ending`, below the table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """The exact lifecycle word (`phase` on the wire)."""

    ACCEPTED = "accepted"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"


class Cue(StrEnum):
    """What happens to a worker."""

    RESERVED = "reserved"
    LAUNCHED = "launched"
    LAUNCH_FAILED = "launch_failed"
    INPUT = "input"
    STOP = "stop"
    CANCEL = "cancel"
    ENDED_STOPPED = "ended_stopped"
    ENDED_CANCELLED = "ended_cancelled"
    ENDED_WELL = "ended_well"
    ENDED_BADLY = "ended_badly"
    LOST = "lost"


class WorkerStatus(StrEnum):
    """The worker runtime contract's coarser word (`status` on the wire)."""

    RUNNING = "running"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


class Wanted(StrEnum):
    """What the worker should be, stored apart from what it is."""

    UP = "up"
    DOWN = "down"


def _ended(phase: Phase) -> dict[Cue, Phase]:
    return {Cue.STOP: phase, Cue.CANCEL: phase}


TRANSITIONS: Final[dict[Phase, dict[Cue, Phase]]] = {
    Phase.ACCEPTED: {
        Cue.RESERVED: Phase.STARTING,
        Cue.INPUT: Phase.ACCEPTED,
        Cue.STOP: Phase.STOPPED,  # Nothing runs yet, so there is nothing to wait for.
        Cue.CANCEL: Phase.CANCELLED,
    },
    Phase.STARTING: {
        Cue.LAUNCHED: Phase.RUNNING,
        Cue.LAUNCH_FAILED: Phase.FAILED,
        Cue.INPUT: Phase.STARTING,
        Cue.STOP: Phase.STOPPING,
        Cue.CANCEL: Phase.STOPPING,
        Cue.LOST: Phase.LOST,
    },
    Phase.RUNNING: {
        Cue.INPUT: Phase.RUNNING,
        Cue.STOP: Phase.STOPPING,
        Cue.CANCEL: Phase.STOPPING,
        Cue.ENDED_WELL: Phase.SUCCEEDED,
        Cue.ENDED_BADLY: Phase.FAILED,
        Cue.LOST: Phase.LOST,
    },
    Phase.STOPPING: {
        Cue.LAUNCHED: Phase.STOPPING,  # Asked to stop while it was starting.
        Cue.LAUNCH_FAILED: Phase.FAILED,
        Cue.STOP: Phase.STOPPING,
        Cue.CANCEL: Phase.STOPPING,
        Cue.ENDED_STOPPED: Phase.STOPPED,
        Cue.ENDED_CANCELLED: Phase.CANCELLED,
        Cue.LOST: Phase.LOST,
    },
    Phase.STOPPED: _ended(Phase.STOPPED),  # Asking an ended worker again is no error.
    Phase.CANCELLED: _ended(Phase.CANCELLED),
    Phase.SUCCEEDED: _ended(Phase.SUCCEEDED),
    Phase.FAILED: _ended(Phase.FAILED),
    Phase.LOST: _ended(Phase.LOST),
}

ENDED: Final = frozenset({Phase.STOPPED, Phase.CANCELLED, Phase.SUCCEEDED, Phase.FAILED, Phase.LOST})


class IllegalTransition(Exception):
    """The table has no such row; whoever gave the cue should have looked first."""

    def __init__(self, phase: Phase, cue: Cue) -> None:
        super().__init__(f"a worker that is {phase} takes no cue {cue}")
        self.phase = phase
        self.cue = cue


def advance(phase: Phase, cue: Cue) -> Phase:
    """The phase after `cue`, or `IllegalTransition`; there is no third way."""
    try:
        return TRANSITIONS[phase][cue]
    except KeyError:
        raise IllegalTransition(phase, cue) from None


# What does not fit the table: how an end is judged, and the contract's words.


def ending(asked: Cue | None, *, lost: bool, clean: bool) -> Cue:
    """The cue of an end.

    `asked` is the strongest request so far (STOP or CANCEL), `lost` that nobody
    saw the exit, `clean` that the process exited by itself with code 0.
    """
    if lost:
        return Cue.LOST
    if asked is Cue.CANCEL:
        return Cue.ENDED_CANCELLED
    if asked is Cue.STOP:
        return Cue.ENDED_STOPPED
    return Cue.ENDED_WELL if clean else Cue.ENDED_BADLY


def status_of(phase: Phase) -> WorkerStatus:
    """The contract's word: a worker that ended by itself shows `stopped`."""
    if phase not in ENDED:
        return WorkerStatus.RUNNING
    return WorkerStatus.CANCELLED if phase is Phase.CANCELLED else WorkerStatus.STOPPED
