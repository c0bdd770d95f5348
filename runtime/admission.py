"""The workers that are here: in the catalog, driven, and launched when there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from watchglass.protocol.events import Event
from watchglass.protocol.execution import Reservation
from watchglass.protocol.identity import RuntimeId, WorkerId, WorkerRef
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.base import OnVisible, Record
from watchglass.store.worker_record import WorkerRecord

from .catalog import Catalog, Entry
from .changes import Changes
from .dispatcher import Dispatcher
from .driver_context import DriverContext
from .ledger import Ledger
from .tally import Tally
from .worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Lets in the workers of one runtime, new ones and those of an earlier one, and keeps their drivers."""

    runtime_id: RuntimeId
    catalog: Catalog
    ledger: Ledger
    dispatcher: Dispatcher
    changes: Changes
    tally: Tally
    context: DriverContext
    drivers: set[asyncio.Task[None]] = field(default_factory=set)

    def asked_for(self, request: CreateWorkerRequest) -> Reservation:
        """What the ledger would hold for such a worker, by the defaults of now."""
        return self.ledger.asked_by(request.limits, request.control_context.tenant)

    def asked_by(self, worker: Worker) -> Reservation:
        """What the ledger holds for a worker while it has a process."""
        return worker.record.reservation or self.asked_for(worker.record.request)

    @contextmanager
    def held(self, worker_id: WorkerId) -> Iterator[None]:
        """The id, and in the block a place in the queue for it; afterwards they are taken, or free again."""
        self.catalog.hold(worker_id)
        try:
            yield
        finally:
            self.catalog.let_go(worker_id)
            self.dispatcher.let_go(worker_id)

    def worker_of(self, record: WorkerRecord) -> Worker:
        """The worker of a record, which has no log yet and is not in the catalog."""
        return Worker(WorkerRef(runtime_id=self.runtime_id, worker_id=record.worker_id), record)

    def enter(self, worker: Worker) -> Entry:
        """Into the catalog, with a driver that does not run yet."""
        entry = Entry(worker, self.context)
        self.catalog.add(entry)
        return entry

    def start_driver(self, entry: Entry) -> asyncio.Task[None]:
        """From here on the worker's state is its driver's."""
        task = asyncio.create_task(entry.driver.run(), name=f"driver {entry.worker.worker_id}")
        self.drivers.add(task)
        task.add_done_callback(self.drivers.discard)
        return task

    def admit(self, entry: Entry) -> asyncio.Task[None] | None:
        """Launch now, or leave the worker in the queue. It may have been stopped already."""
        launches: list[asyncio.Task[None]] = []
        worker = entry.worker
        asked = self.asked_by(worker)

        def launch() -> None:
            worker.life.hold(asked, self.context.now_us())
            launches.append(self.changes.start(entry.driver.ask(entry.driver.launch)))

        if worker.active and not worker.passive:
            self.dispatcher.admit(worker.worker_id, launch, asked, worker.tenant)
        return launches[0] if launches else None

    def counted(self, on_visible: OnVisible) -> OnVisible:
        """The same, which counts what becomes visible."""

        def counted(records: Sequence[Record], events: Sequence[Event]) -> None:
            self.tally.events_appended += len(records)
            self.tally.event_bytes_appended += sum([len(line) for _, line in records])
            on_visible(records, events)

        return counted

    async def close(self) -> None:
        """End the drivers of workers that would not end; the executor then kills what is left of these."""
        drivers = set(self.drivers)
        for driver in drivers:
            driver.cancel()
        await asyncio.gather(*drivers, return_exceptions=True)
