"""What the drivers of workers need of their runtime (see `DriverContext`)."""

from __future__ import annotations

import contextlib
from pathlib import Path

from watchglass.protocol.errors import LAUNCH_FAULTS, StoreFault
from watchglass.protocol.execution import ExecutionPlan
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.runtime import RuntimeEventKind
from watchglass.store.base import Store
from watchglass.store.numbering import system_clock_us
from watchglass.store.worker_record import WorkerRecord

from .admission import Admission
from .announcements import Announcements
from .creation import Creation
from .dispatcher import Dispatcher
from .executor import LaunchPlan
from .launching import Launching, is_given, launch_plan
from .ledger import held_to
from .options import RuntimeOptions
from .probing import Probing
from .tally import Tally
from .tasks import Tasks
from .uids import WorkerUids
from .worker import Worker


class Services:
    """The side of a `Runtime` that its drivers use."""

    options: RuntimeOptions
    tally: Tally
    tasks: Tasks
    _store: Store
    _probing: Probing
    _creation: Creation
    _admission: Admission
    _dispatcher: Dispatcher
    _uids: WorkerUids
    _announcements: Announcements

    def now_us(self) -> int:
        """The time, µs since 1970."""
        return system_clock_us()

    def directory(self, worker: Worker) -> Path:
        """A worker's own folder."""
        return self._store.directory(worker.worker_id)

    async def save(self, record: WorkerRecord, *, durable: bool = True) -> None:
        """Keep a newer version of a worker's record."""
        await self._store.save(record, durable=durable)

    async def save_view(self, worker: Worker) -> None:
        """Keep what spares a worker's view a replay; a store that keeps nothing needs none."""
        if self._store.durability != "none":
            with contextlib.suppress(StoreFault):  # It only costs time at the next start.
                await self._store.save_view(worker.worker_id, worker.view.state())

    async def plan(self, worker: Worker) -> ExecutionPlan | None:
        """What a worker's request comes to now; waits for the first probe. Raises UnsupportedCapability."""
        await self._probing.wait_known()
        return self._creation.resolved(worker.record.request, self._admission.asked_by(worker))

    def launch_plan(self, worker: Worker) -> LaunchPlan:
        """How to start a worker as it is planned. Raises LaunchFailed, OSError."""
        plan = worker.record.plan
        assert plan is not None
        has_own_uid = is_given(plan, "sandbox.own_uid")
        directory = self.directory(worker)
        if has_own_uid:  # Links on the way may be closed to that user.
            directory = directory.resolve()
        limits = held_to(worker.record.request.limits, worker.life.reservation)
        launching = Launching(
            ref=worker.ref,
            request=worker.record.request.model_copy(update={"limits": limits}),
            plan=plan,
            directory=directory,
            stdin_closed=worker.record.stdin_closed,
            uid=self._uids.take(worker.worker_id) if has_own_uid else None,
        )
        return launch_plan(launching, self._probing.capabilities, self.options)

    async def announce_input(self, worker: Worker) -> None:
        """Tell the runtime's log of an accepted input."""
        await self._announcements.tell_of(
            worker, RuntimeEventKind.WORKER_INPUT_ACCEPTED, f"worker {worker.worker_id} accepted input"
        )

    async def on_ended(self, worker: Worker) -> None:
        """A worker's tree is empty: its room goes to the next."""
        self._uids.release(worker.worker_id)
        worker.life.let_go()
        self._dispatcher.withdraw(worker.worker_id)
        self._dispatcher.release(worker.worker_id)
        launch_failed = worker.life.exit is not None and worker.life.exit.reason in LAUNCH_FAULTS
        if launch_failed:
            self.tally.launches_failed += 1
        if worker.announced or not launch_failed or worker.record.task is not None:  # Or it is refused.
            self.tally.workers_ended[worker.life.phase] += 1
        cancelled = worker.life.phase is Phase.CANCELLED
        kind = RuntimeEventKind.WORKER_CANCELLED if cancelled else RuntimeEventKind.WORKER_STOPPED
        await self._announcements.tell_of(worker, kind, f"worker {worker.worker_id} {worker.life.phase}")
        await self.tasks.on_ended(worker)
