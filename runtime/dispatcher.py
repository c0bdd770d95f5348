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
        self._held: set[WorkerId] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether a worker that is admitted now would start at once."""
        free_slots = self._ledger.capacity.task_slots - self._ledger.reserved.task_slots
        return not self._waiting and free_slots > 0

    def hold(self, worker_id: WorkerId) -> None:
        """Keep a place for a worker that is being created, until it is admitted or let go.

        Raises:
            ResourceLimitExceeded: The slots and the queue are full.
        """
        free_slots = self._ledger.capacity.task_slots - self._ledger.reserved.task_slots
        if len(self._waiting) + len(self._held) >= self._waiting_max + free_slots:
            raise ResourceLimitExceeded("workers waiting for a slot", self._waiting_max)
        self._held.add(worker_id)

    def let_go(self, worker_id: WorkerId) -> None:
        """The worker will not be admitted: its place is free again."""
        self._held.discard(worker_id)

    def admit(self, worker_id: WorkerId, start: Callable[[], None]) -> None:
        """Start a worker now, or when its turn comes."""
        self._held.discard(worker_id)
        self._waiting[worker_id] = start
        self._dispatch()

    def restore(self, worker_id: WorkerId) -> None:
        """A worker that was launched before we were there holds its room, also above the capacity."""
        self._ledger.restore(worker_id, ONE_SLOT)

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
