"""From a request to a worker that runs or waits, or that was never there.

    hold the id and a place in the queue ─▶ record, log, driver ─▶ first events
    ─▶ launch, or wait for a slot ─▶ tell of it

What is refused on the way leaves nothing: no id, no place, no record, no file.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from watchglass.protocol.capabilities import PlanAnswer
from watchglass.protocol.errors import LaunchFailed, RuntimeFault, UnsupportedCapability
from watchglass.protocol.execution import ExecutionPlan, Reservation
from watchglass.protocol.identity import RANDOM_BITS, WorkerId, generated_id
from watchglass.protocol.tasks import TaskTerms
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.base import Store
from watchglass.store.numbering import system_clock_us
from watchglass.store.worker_record import WorkerRecord

from .admission import Admission
from .announcements import Announcements
from .catalog import Entry
from .plans import Plans
from .tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """Makes the workers of one runtime."""

    plans: Plans
    store: Store
    announcements: Announcements
    tally: Tally
    admission: Admission
    files_of: Callable[[WorkerRecord], Mapping[str, bytes]]
    """What a worker's folder is to hold from the beginning."""

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
        asked = None if request.execution is None else self.admission.asked_for(request)
        plan = self.resolved(request, asked)
        key, digest = once or (None, None)
        record = WorkerRecord(
            worker_id=request.worker_id or _new_id(),
            created_us=system_clock_us(),
            request=request,
            plan=plan,
            reservation=asked,
            idempotency_key=key,
            request_digest=digest,
            task=task,
            stdin_closed=task is not None,  # Nobody can say anything to a task.
        )
        with self.admission.held(record.worker_id):
            if asked is not None:
                self.admission.dispatcher.hold(record.worker_id, asked, request.control_context.tenant)
            entry = await self._register(record)
            launch = self.admission.admit(entry)
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
        asked = self.admission.asked_for(request)
        plan = self.resolved(request, asked)
        worker_id = request.worker_id or _new_id()
        with self.admission.held(worker_id):
            if plan is None:
                return PlanAnswer(plan=None, reservation=None, would_wait=False, before_it=0)
            dispatcher, tenant = self.admission.dispatcher, request.control_context.tenant
            would_wait = not dispatcher.has_room(asked, tenant)
            dispatcher.hold(worker_id, asked, tenant)
            return PlanAnswer(plan=plan, reservation=asked, would_wait=would_wait, before_it=len(dispatcher))

    async def _register(self, record: WorkerRecord) -> Entry:
        worker = self.admission.worker_of(record)
        on_visible = self.admission.counted(worker.on_visible)
        worker.log = await self.store.create(record, on_visible, beside=self.files_of(record))
        entry = self.admission.enter(worker)
        task = self.admission.start_driver(entry)
        try:
            await entry.driver.ask(entry.driver.begin)
        except RuntimeFault:
            task.cancel()
            await self._discard(entry)
            raise
        return entry

    async def _discard(self, entry: Entry) -> None:
        """The creation is refused: nothing of it is kept."""
        self.admission.catalog.remove(entry.worker.worker_id)
        await self.store.delete(entry.worker.worker_id)
        if entry.worker.log.head:  # Whoever watches everything may have seen its first events.
            await self.announcements.tell_removed(entry.worker)


def _new_id() -> WorkerId:
    return generated_id("wk", system_clock_us(), secrets.randbits(RANDOM_BITS))
