"""From a request to a worker that runs or waits, or that was never there.

    hold the id and a place in the queue ─▶ record, log, driver ─▶ first events
    ─▶ launch, or wait for a slot ─▶ tell of it

What is refused on the way leaves nothing: no id, no place, no record, no file.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from watchglass.protocol.capabilities import PlanAnswer
from watchglass.protocol.errors import LaunchFailed, RuntimeFault, UnsupportedCapability
from watchglass.protocol.events import Event
from watchglass.protocol.execution import ExecutionPlan, Reservation
from watchglass.protocol.identity import RANDOM_BITS, RuntimeId, WorkerId, WorkerRef, generated_id
from watchglass.protocol.tasks import TaskTerms
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.base import OnVisible, Record, Store
from watchglass.store.worker_record import WorkerRecord

from .announcements import Announcements
from .catalog import Catalog, Entry
from .changes import Changes
from .dispatcher import Dispatcher
from .driver_context import DriverContext
from .ledger import Ledger
from .plans import Plans
from .tally import Tally
from .worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """Makes the workers of one runtime, and keeps their drivers."""

    runtime_id: RuntimeId
    plans: Plans
    store: Store
    catalog: Catalog
    ledger: Ledger
    dispatcher: Dispatcher
    announcements: Announcements
    changes: Changes
    tally: Tally
    context: DriverContext
    files_of: Callable[[WorkerRecord], Mapping[str, bytes]]
    """What a worker's folder is to hold from the beginning."""
    drivers: set[asyncio.Task[None]] = field(default_factory=set)

    async def create(
        self,
        request: CreateWorkerRequest,
        once: tuple[str, str] | None = None,
        task: TaskTerms | None = None,
    ) -> Entry:
        """A new worker; returns when its process runs, or when it has to wait for a slot.

        `once`: an idempotency key and the digest of its request, kept with the worker.
        With `task` it returns when it is accepted: how its launch goes is told by its journal.

        Raises:
            WorkerExists, ResourceLimitExceeded, InsufficientResources,
            UnsupportedCapability, LaunchFailed, StoreIo: Nothing of it is kept.
        """
        tenant = request.control_context.tenant
        asked = None if request.execution is None else self.ledger.asked_by(request.limits, tenant)
        plan = self.resolved(request, asked)
        key, digest = once or (None, None)
        record = WorkerRecord(
            worker_id=request.worker_id or self._new_id(),
            created_us=self.context.now_us(),
            request=request,
            plan=plan,
            reservation=asked,
            idempotency_key=key,
            request_digest=digest,
            task=task,
            stdin_closed=task is not None,  # Nobody can say anything to a task.
        )
        with self._held(record.worker_id):
            if asked is not None:
                self.dispatcher.hold(record.worker_id, asked, tenant)
            entry = await self._register(record)
            launch = self.admit(entry)
        try:
            if launch is not None and task is None:
                await launch
        except (LaunchFailed, UnsupportedCapability):
            await self._discard(entry)
            raise
        self.tally.workers_created += 1
        await self.announcements.tell_created(entry.worker)
        return entry

    def resolved(self, request: CreateWorkerRequest, held: Reservation | None) -> ExecutionPlan | None:
        """What a request comes to on this host with `held` reserved for it; None without an execution.

        Raises:
            UnsupportedCapability.
        """
        if request.execution is None:
            return None
        return self.plans.plan(request, held)

    def planned(self, request: CreateWorkerRequest) -> PlanAnswer:
        """What `create` would come to now.

        Raises:
            WorkerExists, ResourceLimitExceeded, InsufficientResources,
            UnsupportedCapability: `create` would, too.
        """
        tenant = request.control_context.tenant
        asked = self.ledger.asked_by(request.limits, tenant)
        plan = self.resolved(request, asked)
        worker_id = request.worker_id or self._new_id()
        with self._held(worker_id):
            if plan is None:
                return PlanAnswer(plan=None, reservation=None, would_wait=False, before_it=0)
            would_wait = not self.dispatcher.has_room(asked, tenant)
            self.dispatcher.hold(worker_id, asked, tenant)
            return PlanAnswer(
                plan=plan, reservation=asked, would_wait=would_wait, before_it=len(self.dispatcher)
            )

    @contextmanager
    def _held(self, worker_id: WorkerId) -> Iterator[None]:
        """The id, and in the block a place in the queue for it; afterwards they are taken, or free again."""
        self.catalog.hold(worker_id)
        try:
            yield
        finally:
            self.catalog.let_go(worker_id)
            self.dispatcher.let_go(worker_id)

    def _new_id(self) -> WorkerId:
        return generated_id("wk", self.context.now_us(), secrets.randbits(RANDOM_BITS))

    async def close(self) -> None:
        """End the drivers of workers that would not end; the executor then kills what is left of these."""
        drivers = set(self.drivers)
        for driver in drivers:
            driver.cancel()
        await asyncio.gather(*drivers, return_exceptions=True)

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

    async def _register(self, record: WorkerRecord) -> Entry:
        worker = Worker(WorkerRef(runtime_id=self.runtime_id, worker_id=record.worker_id), record)
        worker.log = await self.store.create(
            record, self.counted(worker.on_visible), beside=self.files_of(record)
        )
        entry = self.enter(worker)
        task = self.start_driver(entry)
        try:
            await entry.driver.ask(entry.driver.begin)
        except RuntimeFault:
            task.cancel()
            await self._discard(entry)
            raise
        return entry

    async def _discard(self, entry: Entry) -> None:
        """The creation is refused: nothing of it is kept."""
        self.catalog.remove(entry.worker.worker_id)
        await self.store.delete(entry.worker.worker_id)
        if entry.worker.log.head:  # Whoever watches everything may have seen its first events.
            await self.announcements.tell_removed(entry.worker)

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

    def asked_by(self, worker: Worker) -> Reservation:
        """What the ledger holds for a worker while it has a process."""
        kept = worker.record.reservation
        return self.ledger.asked_by(worker.record.request.limits, worker.tenant) if kept is None else kept

    def counted(self, on_visible: OnVisible) -> OnVisible:
        """The same, which counts what becomes visible."""

        def counted(records: Sequence[Record], events: Sequence[Event]) -> None:
            self.tally.events_appended += len(records)
            self.tally.event_bytes_appended += sum([len(line) for _, line in records])
            on_visible(records, events)

        return counted
