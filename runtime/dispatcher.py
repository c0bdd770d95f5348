"""Who may start now: waiting → reserved → started, first come first served.

Decides only. A starter is a plain callable, called once, in the order of
admission, when the ledger has the room.
"""

from __future__ import annotations

from collections.abc import Callable

from watchglass.protocol.errors import ResourceLimitExceeded
from watchglass.protocol.execution import Reservation
from watchglass.protocol.identity import WorkerId

from .ledger import Ledger

ONE_SLOT = Reservation(task_slots=1)


class Dispatcher:
    """A bounded queue in front of the ledger."""

    def __init__(self, ledger: Ledger, waiting_max: int) -> None:
        self._ledger = ledger
        self._waiting_max = waiting_max
        self._waiting: dict[WorkerId, Callable[[], None]] = {}  # In order of admission.

    def __len__(self) -> int:
        return len(self._waiting)

    def check_room(self) -> None:
        """Refuse before anything is kept. Raises ResourceLimitExceeded when the queue is full."""
        full = self._ledger.reserved.task_slots >= self._ledger.capacity.task_slots
        if full and len(self._waiting) >= self._waiting_max:
            raise ResourceLimitExceeded("workers waiting for a slot", self._waiting_max)

    def admit(self, worker_id: WorkerId, start: Callable[[], None]) -> None:
        """Start a worker now, or when its turn comes."""
        self._waiting[worker_id] = start
        self._dispatch()

    def withdraw(self, worker_id: WorkerId) -> bool:
        """Take a worker out of the queue; False when it is not in it."""
        return self._waiting.pop(worker_id, None) is not None

    def release(self, worker_id: WorkerId) -> None:
        """A worker's process tree is empty: give its room to the next."""
        self._ledger.release(worker_id)
        self._dispatch()

    def place(self, worker_id: WorkerId) -> int | None:
        """How many wait before this worker; None when it does not wait."""
        return list(self._waiting).index(worker_id) if worker_id in self._waiting else None

    def _dispatch(self) -> None:
        while self._waiting:
            worker_id = next(iter(self._waiting))
            if not self._ledger.try_reserve(worker_id, ONE_SLOT):
                return
            self._waiting.pop(worker_id)()
