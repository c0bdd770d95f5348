"""Every worker that is known, in order of creation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from watchglass.protocol.all_workers import RUNTIME_NAME
from watchglass.protocol.errors import (
    InvalidQuery,
    InvalidWorkerId,
    ResourceLimitExceeded,
    WorkerExists,
    WorkerNotFound,
)
from watchglass.protocol.identity import WorkerId
from watchglass.protocol.lifecycle import Phase, WorkerStatus, status_of

from .driver import Driver
from .driver_context import DriverContext
from .worker import Worker


class Entry:
    """A worker and the driver that owns it."""

    __slots__ = ("_context", "_driver", "worker")

    def __init__(self, worker: Worker, context: DriverContext) -> None:
        self.worker = worker
        self._context = context
        self._driver: Driver | None = None

    @property
    def driver(self) -> Driver:
        """Made when it is first asked for, which nobody does of a worker that an earlier runtime saw end."""
        driver = self._driver
        if driver is None:
            driver = self._driver = Driver(self.worker, self._context)
        return driver


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFilter:
    """Which workers of a list are asked for; empty fields ask for all."""

    status: WorkerStatus | None = None
    phase: Phase | None = None
    labels: dict[str, str] = field(default_factory=dict)
    only: WorkerId | None = None
    """There is no other worker than this one, for whoever asks."""

    def admits(self, worker: Worker) -> bool:
        """Whether this worker is asked for."""
        labels = worker.record.request.control_context.labels
        return (
            (self.status is None or status_of(worker.life.phase) is self.status)
            and (self.phase is None or worker.life.phase is self.phase)
            and all(labels.get(name) == value for name, value in self.labels.items())
        )


class Catalog:
    """Workers by id. An id is held from the moment of its creation on."""

    def __init__(self, workers_max: int) -> None:
        self._workers_max = workers_max
        self._entries: dict[WorkerId, Entry] = {}
        self._held: set[WorkerId] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def hold(self, worker_id: WorkerId) -> None:
        """Keep an id for a worker that is being created.

        Raises:
            InvalidWorkerId: It is the runtime's own, in the envelopes of its events.
            WorkerExists: It is taken.
            ResourceLimitExceeded: The catalog is full.
        """
        if worker_id == RUNTIME_NAME:
            raise InvalidWorkerId(worker_id, "is what the runtime's own events have; choose another one")
        if worker_id in self._entries or worker_id in self._held:
            raise WorkerExists(worker_id)
        if len(self._entries) + len(self._held) >= self._workers_max:
            raise ResourceLimitExceeded("workers in the catalog (remove ended ones)", self._workers_max)
        self._held.add(worker_id)

    def let_go(self, worker_id: WorkerId) -> None:
        """The creation failed: the id is free again."""
        self._held.discard(worker_id)

    def add(self, entry: Entry) -> None:
        """A worker whose id is held exists now. One that is older than others stands before them."""
        self._held.discard(entry.worker.worker_id)
        newest = next(reversed(self._entries.values()), entry)
        self._entries[entry.worker.worker_id] = entry
        if _created_us(entry) < _created_us(newest):
            self._entries = {each.worker.worker_id: each for each in sorted(self, key=_created_us)}

    def get(self, worker_id: WorkerId) -> Entry:
        """Raises WorkerNotFound."""
        try:
            return self._entries[worker_id]
        except KeyError:
            raise WorkerNotFound(worker_id) from None

    def find(self, worker_id: WorkerId) -> Worker | None:
        """The worker with this id, if there is one."""
        entry = self._entries.get(worker_id)
        return None if entry is None else entry.worker

    def remove(self, worker_id: WorkerId) -> None:
        """Forget a worker, if it is there."""
        self._entries.pop(worker_id, None)

    def page(
        self, wanted: WorkerFilter, limit: int | None, after: WorkerId | None
    ) -> tuple[Sequence[Worker], bool]:
        """The workers that a filter admits, after one of them, and whether more follow.

        Raises:
            InvalidQuery: `after` names no worker.
        """
        ids = [each for each in self._entries if wanted.only in {None, each}]
        start = 0
        if after is not None:
            if after not in ids:
                raise InvalidQuery("after", after, "no worker has this id")
            start = ids.index(after) + 1
        admitted = [
            self._entries[worker_id].worker
            for worker_id in ids[start:]
            if wanted.admits(self._entries[worker_id].worker)
        ]
        if limit is None:
            return admitted, False
        return admitted[:limit], len(admitted) > limit

    def counts(self) -> Counter[WorkerStatus]:
        """How many workers show each status."""
        return Counter(status_of(entry.worker.life.phase) for entry in self._entries.values())


def _created_us(entry: Entry) -> int:
    return entry.worker.record.created_us
