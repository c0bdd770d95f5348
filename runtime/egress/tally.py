"""What went out and what was refused, in numbers and in few words.

A worker that hammers must not flood its journal. Of each refusal (place and reason)
the 1st, 10th, 100th, ... is told, with the count so far; and of places beyond
DENIED_PLACES_MAX only that there are more, in the same steps.
"""

from __future__ import annotations

from typing import NamedTuple

from watchglass.protocol.events import Event
from watchglass.protocol.places import Place

from .routing import Reason

DENIED_PLACES_MAX = 100
"""Refusals that a worker's journal tells of one by one."""


class Denial(NamedTuple):
    """One kind of refusal. Without a place: none could be read, or it stands for many."""

    place: Place | None
    reason: Reason


class Tally:
    """Of one worker, since this server has it. `events` are what there is to tell, oldest first."""

    def __init__(self) -> None:
        self.connections = 0
        self.sent_bytes = 0
        self.received_bytes = 0
        self.denied = 0
        self._counts: dict[Denial, int] = {}
        self._events: list[Event] = []

    def deny(self, denial: Denial) -> bool:
        """Count a refusal; whether there is something to tell of it."""
        self.denied += 1
        if denial not in self._counts and len(self._counts) >= DENIED_PLACES_MAX:
            denial = Denial(None, Reason.TOO_MANY_PLACES)
        count = self._counts[denial] = self._counts.get(denial, 0) + 1
        if not _is_told(count):
            return False
        self._events.append(_denied(denial, count))
        return True

    def take_events(self) -> list[Event]:
        """What is to be told since the last call."""
        taken, self._events = self._events, []
        return taken

    def usage(self) -> Event | None:
        """What it came to; None when nothing was ever asked for."""
        if not self.connections and not self.denied:
            return None
        return Event(
            "egress_usage",
            {
                "connections": self.connections,
                "sent_bytes": self.sent_bytes,
                "received_bytes": self.received_bytes,
                "denied": self.denied,
            },
        )


def _is_told(count: int) -> bool:
    """A power of ten."""
    while count % 10 == 0:
        count //= 10
    return count == 1


def _denied(denial: Denial, count: int) -> Event:
    host, port = denial.place or (None, None)
    return Event("egress_denied", {"host": host, "port": port, "reason": str(denial.reason), "count": count})
