"""What a driver has in hand of its worker, and the small things that it says of it.

The driver's acts and steps share it: `starting`, `taking_over` and `ending` work
on it, one at a time, in the driver's own task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.events import Event
from watchglass.protocol.execution import Reservation
from watchglass.protocol.workers import WorkerExit

from . import life_events
from .driver_context import DriverContext
from .egress import WorkerEgress
from .executor import Process
from .journal import Journal
from .streams import Streams
from .worker import Worker


class Charge:
    """One worker in the hands of its driver.

    `refused` is why we killed it ourselves. With `is_over` all of it has happened;
    at most it is not written yet. What was accepted before there is a process is
    kept here until there is one.
    """

    __slots__ = (
        "_reservation_told",
        "_unsent",
        "context",
        "egress",
        "is_over",
        "journal",
        "life",
        "process",
        "refused",
        "streams",
        "woken",
        "worker",
    )

    def __init__(self, worker: Worker, context: DriverContext) -> None:
        self.worker = worker
        self.life = worker.life
        self.context = context
        self.woken = asyncio.Event()
        self.process: Process | None = None
        self.egress: WorkerEgress | None = None
        self.streams = Streams(worker.record)
        self.journal = Journal(worker.log, self.streams.offsets)
        self.refused: str | None = None
        self.is_over = False
        self._unsent: list[bytes] = []
        self._reservation_told: Reservation | None = None  # And its release not yet.

    def wake(self) -> None:
        """Something of the process may have changed, or there is something to do."""
        self.woken.set()

    async def keep(self, **changed: object) -> None:
        """Change the worker's record. Raises StoreIo, StoreMissing; then it stays as it was."""
        record = self.worker.record.model_copy(update=changed)
        await self.context.save(record)
        self.worker.record = record

    # Events.

    def alert(self, message: str) -> Event:
        """Something of the process that an observer must know."""
        return life_events.alert(message, self.context.now_us())

    def status(self) -> Event:
        """What the worker is now."""
        return life_events.status(self.life.phase)

    @property
    def tells_of_a_reservation(self) -> bool:
        """Whether the journal has a `reserved` without its `released`."""
        return self._reservation_told is not None

    def has_told(self, held: Reservation) -> None:
        """The journal of an earlier runtime has a `reserved` without its `released`."""
        self._reservation_told = held

    def reserved(self) -> Sequence[Event]:
        """The ledger holds room for it: to be told now."""
        assert self.life.reservation is not None, "it is launched by its reservation"
        self._reservation_told = self.life.reservation
        return [life_events.reserved(self.life.reservation)]

    def released(self) -> Sequence[Event]:
        """What was told to be held is not any more: to be told now."""
        told, self._reservation_told = self._reservation_told, None
        return [] if told is None else [life_events.released(told)]

    def last_words(self, ended: WorkerExit) -> Sequence[Event]:
        """What its journal ends with: to be told now."""
        held, self._reservation_told = self._reservation_told, None
        return life_events.last_words(ended, self.life.phase, self.life.reason, held=held)

    # Input.

    def write(self, data: bytes) -> None:
        """Put accepted input on its way."""
        self.streams.accepted_bytes += len(data)
        if self.process is None:
            self._unsent.append(data)
            self.life.backlog_bytes += len(data)
        else:
            self.process.write_input(data)
            self.life.backlog_bytes = self.process.backlog_bytes

    def hold_back(self, data: bytes) -> None:
        """Input that an earlier runtime accepted: all that waits for a process."""
        self._unsent = (
            [data] if data else []
        )  # Anew: one whose creation was cut short has begun a moment ago.
        self.life.backlog_bytes = len(data)

    def send_held_back(self) -> None:
        """There is a process: give it what was accepted before."""
        assert self.process is not None
        for data in self._unsent:
            self.process.write_input(data)
        self._unsent.clear()

    # What an act may be refused for.

    def check_active(self) -> None:
        """Raises InvalidRequest: It has ended."""
        if not self.worker.active:
            raise InvalidRequest(f"worker {self.worker.worker_id!r} has ended ({self.life.phase})")

    def running_process(self) -> Process:
        """Its process. Raises InvalidRequest."""
        self.check_active()
        if self.process is None:
            raise InvalidRequest(f"worker {self.worker.worker_id!r} has no process")
        return self.process
