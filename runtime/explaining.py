"""Why a worker is where it is, in words."""

from __future__ import annotations

from typing import Final

from watchglass.protocol.errors import shown
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.workers import Shortage, WaitingFor, WorkerExit, WorkerExplanation

from .dispatcher import Place
from .ledger import Ledger
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
    "sandbox_setup_failed": "its sandbox could not be made",
    "unsupported_capability": "the host could not give what was asked, and less would not do",
    "state_poisoned": "the runtime failed while driving it; the log says more",
    "not_taken_over": "it could not be taken over from an earlier runtime; the diagnostics say why",
    "store_missing": "somebody removed its files, so nothing of it could be kept",
    "store_corrupt": "its journal cannot be read back as it was written",
}

_WAITS_FOR_ROOM: Final = "what happens to it waits until the store takes writes again"
_UNITS: Final = {"task_slots": "slots", "memory_bytes": "bytes of memory", "pids": "processes"}


def explain(worker: Worker, place: Place | None, ledger: Ledger) -> WorkerExplanation:
    """`place` is where the worker waits; None when it does not wait."""
    phase = worker.life.phase
    if place is None:
        outage = worker.life.outage
        summary = _summary(worker) + ("" if outage is None else f"; {_WAITS_FOR_ROOM}: {outage}")
        return WorkerExplanation(worker_ref=worker.ref, phase=phase, summary=summary, store_fault=outage)
    return WorkerExplanation(
        worker_ref=worker.ref,
        phase=phase,
        summary=f"waits for {_awaited(worker, place)}; {place.before_it} workers are before it",
        waiting_for=_waiting_for(place, ledger),
    )


def without_others(worker_id: WorkerId, place: Place) -> Place:
    """The same place, told to somebody for whom there is no other worker and no other tenant."""
    due = place.due if place.due == worker_id else None
    return place._replace(due=due, tenants_before_it=[None] * len(place.tenants_before_it))


def _awaited(worker: Worker, place: Place) -> str:
    short = place.shortage
    if short is not None:
        whose = "" if short.of == "capacity" else f" of tenant {place.tenant!r}"
        taken = f"{short.bound - short.available} of {short.bound}{whose} are taken"
        if place.is_impossible:
            return f"another configuration: it asks for {_named(short.resource, short.asked)}, and {taken}"
        return f"{_named(short.resource, short.asked)}: {taken}"
    if place.before_it:
        return "the others of its line"
    if place.due not in {None, worker.worker_id}:
        return f"worker {place.due}, which was passed by too often and comes first now"
    return f"its turn, after {len(place.tenants_before_it)} other tenants"


def _named(resource: str, amount: int) -> str:
    return "a slot" if resource == "task_slots" and amount == 1 else f"{amount} {_UNITS[resource]}"


def _waiting_for(place: Place, ledger: Ledger) -> WaitingFor:
    return WaitingFor(
        asked=place.asked,
        reserved=ledger.reserved,
        capacity=ledger.capacity,
        available=ledger.available,
        tenant=place.tenant,
        quota=None if place.tenant is None else ledger.quotas.get(place.tenant),
        quota_available=ledger.available_to(place.tenant),
        before_it=place.before_it,
        tenants_before_it=place.tenants_before_it,
        due=place.due,
        short_of=None if place.shortage is None else Shortage(**place.shortage._asdict()),
        impossible=place.is_impossible,
    )


def _because(reason: str) -> str:
    """An imported worker may have a reason that a later version has words for."""
    return ENDED_BECAUSE.get(reason, shown(reason))


def _summary(worker: Worker) -> str:
    if worker.life.exit is not None:
        return f"ended as {worker.life.phase}{_how(worker.life.exit)}: {_because(worker.life.exit.reason)}"
    if worker.passive:
        return "has no process: inputs are recorded, and a producer appends its events"
    return f"is {worker.life.phase}"


def _how(ended: WorkerExit) -> str:
    if ended.signal is not None:
        return f" by signal {ended.signal}"
    return "" if ended.code is None else f" with code {ended.code}"
