"""What the runtime says of a worker's life in its journal: one function for each kind of event."""

from __future__ import annotations

from collections.abc import Sequence

from watchglass.protocol.events import Event
from watchglass.protocol.execution import Reservation
from watchglass.protocol.lifecycle import Phase, status_of
from watchglass.protocol.workers import WorkerExit, WorkerInput

from .views import system_item, user_message


def status(phase: Phase) -> Event:
    """What the worker is now, in both words."""
    return Event("status", {"status": status_of(phase), "phase": phase})


def accepted_input(said: WorkerInput) -> Event:
    """An input, as the transcript has it."""
    return user_message(said.content) if said.kind == "user" else system_item(said.content)


def reserved(share: Reservation) -> Event:
    """The ledger holds this for the worker."""
    return Event("reserved", share.model_dump(exclude_none=True))


def released(share: Reservation) -> Event:
    """The ledger has this back."""
    return Event("released", share.model_dump(exclude_none=True))


def alert(message: str, now_us: int) -> Event:
    """Something of the process that an observer must know."""
    facts = {"level": "warning", "source": "executor", "message": message, "timestamp_ms": now_us // 1000}
    return Event("alert", facts)


def last_words(
    ended: WorkerExit, phase: Phase, reason: str | None, *, held: Reservation | None
) -> Sequence[Event]:
    """What a complete journal ends with; `held` is what the journal says that the worker holds."""
    said = {"asked_because": reason} if reason else {}
    return [
        *([] if held is None else [released(held)]),
        Event("exit", {**ended.model_dump(), **said}),
        status(phase),
        Event("end", {}),
    ]
