"""Who holds which part of the capacity.

A reservation is made before a worker starts and released when its process
tree is empty. At any moment `reserved` equals the sum of the active
reservations.
"""

from __future__ import annotations

from watchglass.protocol.execution import Reservation
from watchglass.protocol.identity import WorkerId


class Ledger:
    """Slots, each for one worker with a process."""

    def __init__(self, capacity: Reservation) -> None:
        self.capacity = capacity
        self._active: dict[WorkerId, Reservation] = {}

    @property
    def reserved(self) -> Reservation:
        """The sum of the active reservations."""
        return Reservation(task_slots=sum(held.task_slots for held in self._active.values()))

    @property
    def active(self) -> dict[WorkerId, Reservation]:
        """Who holds what, as a copy."""
        return dict(self._active)

    def try_reserve(self, worker_id: WorkerId, asked: Reservation) -> bool:
        """Hold `asked` for a worker, or change nothing and say False.

        A worker holds one reservation at a time: a second one is our bug.
        """
        assert worker_id not in self._active, worker_id
        if self.reserved.task_slots + asked.task_slots > self.capacity.task_slots:
            return False
        self._active[worker_id] = asked
        return True

    def restore(self, worker_id: WorkerId, held: Reservation) -> None:
        """What a worker holds that runs already; it may pass a capacity that was lowered meanwhile."""
        assert worker_id not in self._active, worker_id
        self._active[worker_id] = held

    def release(self, worker_id: WorkerId) -> bool:
        """Give back what a worker holds; False when it held nothing."""
        return self._active.pop(worker_id, None) is not None
