"""Why a worker is where it is, in words."""

from __future__ import annotations

from typing import Final

from watchglass.protocol.execution import Reservation
from watchglass.protocol.workers import WorkerExit, WorkerExplanation

from .worker import Worker

ENDED_BECAUSE: Final = {
    "exited": "its process exited by itself",
    "signalled": "a signal ended its process",
    "stopped": "it was asked to leave",
    "cancelled": "it was abandoned",
    "timeout": "it reached its wall time",
    "cpu_limit_exceeded": "it used up its CPU time",
    "memory_limit_exceeded": "there was no memory left for it within its limit",
    "resource_limit_exceeded": "it met its bound on processes or on the size of files",
    "lost": "its supervisor was killed, so nobody saw how it ended",
    "launch_failed": "its process could not be started",
    "state_poisoned": "the runtime failed while driving it; the log says more",
    "not_taken_over": "it could not be taken over from an earlier runtime; the diagnostics say why",
    "store_missing": "somebody removed its files, so nothing of it could be kept",
    "store_corrupt": "its journal cannot be read back as it was written",
}


def explain(
    worker: Worker, before_it: int | None, reserved: Reservation, capacity: Reservation
) -> WorkerExplanation:
    """`before_it` is how many wait before this worker; None when it does not wait."""
    phase = worker.life.phase
    if before_it is None:
        return WorkerExplanation(worker_ref=worker.ref, phase=phase, summary=_summary(worker))
    taken = f"{reserved.task_slots} of {capacity.task_slots} are taken"
    return WorkerExplanation(
        worker_ref=worker.ref,
        phase=phase,
        summary=f"waits for a slot: {taken}, {before_it} workers are before it",
        waiting_for={
            "task_slots": 1,
            "reserved": reserved.task_slots,
            "capacity": capacity.task_slots,
            "before_it": before_it,
        },
    )


def _summary(worker: Worker) -> str:
    if worker.life.exit is not None:
        return (
            f"ended as {worker.life.phase}{_how(worker.life.exit)}: {ENDED_BECAUSE[worker.life.exit.reason]}"
        )
    if worker.passive:
        return "has no process: inputs are recorded, and a producer appends its events"
    return f"is {worker.life.phase}"


def _how(ended: WorkerExit) -> str:
    if ended.signal is not None:
        return f" by signal {ended.signal}"
    return "" if ended.code is None else f" with code {ended.code}"
