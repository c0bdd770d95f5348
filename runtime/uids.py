"""Which users workers are, when the server is root and can choose."""

from __future__ import annotations

from typing import Final, Literal

from watchglass.protocol.identity import WorkerId

WORKER_UID_BASE = 1_900_000_000
"""Above what systemd hands out to containers, and above what subuid(5) maps by default."""

OwnUids = Literal["sandboxed", "all"]
"""Who is to be a user of its own: who is kept by a sandbox or by Landlock, or everybody."""
OWN_UIDS: Final[tuple[OwnUids, ...]] = ("sandboxed", "all")


class WorkerUids:
    """Numbers from `base` on, the lowest free one first; no two active workers have the same."""

    def __init__(self, base: int = WORKER_UID_BASE) -> None:
        self._base = base
        self._held: dict[WorkerId, int] = {}

    def take(self, worker_id: WorkerId) -> int:
        """The worker's number, which it holds until it is released."""
        if worker_id not in self._held:
            taken = set(self._held.values())
            self._held[worker_id] = next(
                uid for uid in range(self._base, self._base + len(taken) + 1) if uid not in taken
            )
        return self._held[worker_id]

    def restore(self, worker_id: WorkerId, uid: int) -> None:
        """A worker that runs already is this user."""
        self._held[worker_id] = uid

    def release(self, worker_id: WorkerId) -> None:
        """Nothing of the worker is left: its number may be another one's."""
        self._held.pop(worker_id, None)
