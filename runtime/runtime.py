"""The one entrance: everything that can be done with workers.

    async with open_runtime() as runtime:
        worker = await runtime.create_worker(CreateWorkerRequest(...))
        async with runtime.observe(worker.worker_id, "earliest") as reader:
            async for record in reader: ...

After the block no process and no task is left. A change that was begun is
finished even when its caller is cancelled, so a client that hangs up leaves
nothing half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

from watchglass import __version__
from watchglass.protocol.all_workers import Chosen
from watchglass.protocol.capabilities import Capabilities, PlanAnswer
from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.errors import (
    LAUNCH_FAULTS,
    InputBacklog,
    InvalidRequest,
    RuntimeStopped,
    StatePoisoned,
    StoreFault,
    WorkerActive,
    WrongRuntime,
)
from watchglass.protocol.events import AppendEventsAnswer, Event, ProducedEvent, shape_fault
from watchglass.protocol.execution import ExecutionPlan
from watchglass.protocol.identity import RANDOM_BITS, RuntimeId, WorkerId, WorkerRef, generated_id
from watchglass.protocol.lifecycle import Cue, Phase, WorkerStatus
from watchglass.protocol.runtime import (
    RuntimeDiagnostic,
    RuntimeEventBatch,
    RuntimeEventCursor,
    RuntimeEventKind,
    RuntimeResources,
    RuntimeSummary,
)
from watchglass.protocol.start import FeedQuery
from watchglass.protocol.tasks import TaskTerms
from watchglass.protocol.workers import (
    CreateWorkerRequest,
    LifecycleRequest,
    TranscriptProjection,
    WorkerDetail,
    WorkerExplanation,
    WorkerInput,
    WorkerInteractionAck,
    WorkerLifecycleAck,
    WorkerSummary,
)
from watchglass.store.base import Retention, Store
from watchglass.store.garbage import not_searched
from watchglass.store.memory import open_memory_store, system_clock_us
from watchglass.store.numbering import rfc3339
from watchglass.store.worker_record import WorkerRecord

from .announcements import Announcements
from .archives import Archives, Imported
from .capabilities import HostCapabilities
from .capacity import host_capacity, ledger_of
from .catalog import Catalog, Entry, WorkerFilter
from .changes import Changes
from .chronicle import Chronicle
from .creation import Creation
from .describing import described
from .dispatcher import Dispatcher
from .egress import Resolver, SystemResolver
from .executor import Executor, LaunchPlan, open_executor
from .explaining import explain
from .idempotency import IdempotencyKeys, digest_of
from .launching import Launching, is_given, launch_plan
from .ledger import held_to
from .observation import Observation, Reader, SubjectPin
from .options import HOST, RuntimeOptions
from .pins import Pin, pinned, unpinned
from .probing import Probing
from .resources import resources
from .restoring import Restoration
from .signal_names import signal_number
from .tally import Tally
from .task_description import Description
from .tasks import Tasks
from .uids import WorkerUids
from .worker import Worker

END_S_MAX = 15.0
"""How long after its grace a worker may take to end before a drain goes on without it."""

EXECUTOR_LOG = "executor.log"
"""Beside the store's files: where processes write that outlive us, when they fail."""

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
StreamName = Literal["stdout", "stderr"]


class Runtime:
    """Workers, their journals and who watches them. Made by `open_runtime`."""

    def __init__(self, options: RuntimeOptions, store: Store, executor: Executor) -> None:
        self.options = options
        self.runtime_id = _runtime_id(options, store)
        self.started_us = system_clock_us()
        self.tally = Tally()
        self.executor = executor
        self._resolver = SystemResolver()
        self.resolve: Resolver = self._resolver
        self.input_backlog_max_bytes = options.input_backlog_max_bytes
        self._store = store
        self._changes = Changes()
        self._stopping = False
        self._probing = Probing(executor.probe)
        self._uids = WorkerUids(options.worker_uid_base)
        self._catalog = Catalog(options.workers_max)
        self._ledger = ledger_of(options)
        self._dispatcher = Dispatcher(self._ledger, options.waiting_workers_max)
        self._observation = Observation(options.observers_max, system_clock_us)
        self._chronicle = Chronicle(store, self._catalog, system_clock_us, self.summary)
        self._keys = IdempotencyKeys()
        self._announcements = Announcements(
            self.runtime_id, store.runtime_log, options.limits.max_event_batch_items
        )
        self.tasks = Tasks(
            options=options,
            store=store,
            catalog=self._catalog,
            create=self._create_task,
            stop=self.stop,
            remove=self.remove,
            now_us=system_clock_us,
        )
        self.task_runtime = Description(
            runtime_id=self.runtime_id,
            started_us=self.started_us,
            options=options,
            store=store,
            host=lambda: self.capabilities,
            resources_now=self.resources,
        )
        self._creation = Creation(
            runtime_id=self.runtime_id,
            capability_mode=options.capability_mode,
            probing=self._probing,
            store=store,
            catalog=self._catalog,
            ledger=self._ledger,
            dispatcher=self._dispatcher,
            announcements=self._announcements,
            changes=self._changes,
            tally=self.tally,
            context=self,
            on_accepted=self.tasks.on_accepted,
        )
        self._restoration = Restoration(
            runtime_id=self.runtime_id,
            grace_ms=options.grace_ms,
            store=store,
            executor=executor,
            catalog=self._catalog,
            dispatcher=self._dispatcher,
            uids=self._uids,
            announcements=self._announcements,
            creation=self._creation,
        )
        self._archives = Archives(
            runtime_id=self.runtime_id,
            store=store,
            catalog=self._catalog,
            restoration=self._restoration,
            announcements=self._announcements,
            changes=self._changes,
            check_running=self._check_running,
        )

    # Reading: works until the end, also while the runtime stops.

    def summary(self) -> RuntimeSummary:
        """The runtime in one object."""
        counts = self._catalog.counts()
        return RuntimeSummary(
            runtime_id=self.runtime_id,
            display_name=self.options.display_name,
            backend=self._store.backend,
            status="stopped" if self._stopping else "running",
            worker_count=len(self._catalog),
            active_worker_count=counts[WorkerStatus.RUNNING],
            stopped_worker_count=counts[WorkerStatus.STOPPED],
            cancelled_worker_count=counts[WorkerStatus.CANCELLED],
            diagnostic_count=self._announcements.diagnostic_count,
            limits=self.options.limits,
            version=__version__,
            started_at=rfc3339(self.started_us),
            durability=self._store.durability,
            capacity=self._ledger.capacity,
            reserved=self._ledger.reserved,
            waiting_worker_count=len(self._dispatcher),
            observer_count=self._observation.observer_count,
            keep_workers=self.options.keep_workers,
        )

    def list_workers(
        self,
        wanted: WorkerFilter | None = None,
        *,
        limit: int | None = None,
        after: WorkerId | None = None,
    ) -> tuple[Sequence[WorkerSummary], bool]:
        """Workers in order of creation, and whether more follow. Raises InvalidQuery."""
        workers, more = self._catalog.page(wanted or WorkerFilter(), limit, after)
        return [worker.summary() for worker in workers], more

    def worker(self, worker_id: WorkerId) -> WorkerDetail:
        """One worker, whole. Raises WorkerNotFound."""
        return self._catalog.get(worker_id).worker.detail()

    async def transcript(self, worker_id: WorkerId, start: int | None, limit: int) -> TranscriptProjection:
        """A window of a transcript (see `WorkerView.window`).

        Raises:
            WorkerNotFound, LimitTooLarge, TranscriptExpired.
            StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
        """
        worker = self._catalog.get(worker_id).worker
        limit_max = self.options.limits.max_transcript_projection_items
        return await worker.view.window(worker.log, start, limit, limit_max)

    def explain(self, worker_id: WorkerId) -> WorkerExplanation:
        """Why a worker is where it is. Raises WorkerNotFound."""
        worker = self._catalog.get(worker_id).worker
        return explain(worker, self._dispatcher.place(worker_id), self._ledger)

    def resources(self) -> RuntimeResources:
        """Who holds which part of the capacity, as of this moment."""
        return resources(self.runtime_id, self._catalog, self._ledger, self._dispatcher)

    def output_file(self, worker_id: WorkerId, stream: StreamName) -> Path:
        """Where the exact bytes of a stream are. Raises WorkerNotFound, InvalidRequest."""
        worker = self._catalog.get(worker_id).worker
        if worker.passive:
            raise InvalidRequest(f"worker {worker_id!r} has no process, so it has no {stream}")
        return self._store.directory(worker_id) / f"{stream}.log"

    def diagnostics(self) -> list[RuntimeDiagnostic]:
        """The newest notes for an operator."""
        return self._announcements.diagnostics

    async def runtime_events(self, cursor: RuntimeEventCursor | None, limit: int | None) -> RuntimeEventBatch:
        """The runtime's own events. Raises WrongRuntimeCursor, LimitTooLarge, CursorExpired."""
        return await self._announcements.batch(cursor, limit)

    @asynccontextmanager
    async def observe(
        self, worker_id: WorkerId, cursor: FeedQuery | str | None = None, *, pin: Pin = pinned
    ) -> AsyncIterator[Reader]:
        """Watch one worker (see `Observation.join`). Raises WorkerNotFound and what `join` raises."""
        async with self._observation.join(self._catalog.get(worker_id).worker, cursor, pin) as reader:
            yield reader

    @asynccontextmanager
    async def observe_all(
        self, chosen: Chosen, cursor: FeedQuery | str | None = None, *, pin: SubjectPin = unpinned
    ) -> AsyncIterator[Reader]:
        """Watch the runtime's own events and those of the chosen workers, in the order of their sequences.

        Raises WorkerNotFound, InvalidQuery (see `Chronicle.opened`) and what `join` raises; what
        retention dropped says whose it was.
        """
        async with (
            self._chronicle.opened(chosen) as watched,
            self._observation.join(watched, cursor, pin) as reader,
        ):
            yield reader

    @property
    def durability(self) -> Literal["none", "os", "fsync"]:
        """What of a journal survives."""
        return self._store.durability

    @property
    def retention(self) -> Retention:
        """How much of each worker's log is kept."""
        return self._store.retention

    async def export_worker(self, worker_id: WorkerId) -> AsyncGenerator[bytes, None]:
        """The archive of an ended worker, made while it is taken; whoever stops early closes it.

        Raises:
            WorkerNotFound.
            WorkerActive: It has not ended.
            StoreIo, StoreMissing, StoreCorrupt: From here or from the iterator; what
                came so far is no archive.
        """
        return await self._archives.export(self._catalog.get(worker_id))

    @property
    def capabilities(self) -> HostCapabilities:
        """What this host can do for workers, as the newest probe found."""
        return self._probing.capabilities

    def described_capabilities(self) -> Capabilities:
        """The same, as an answer tells it."""
        return described(self.capabilities, self.runtime_id)

    async def probe(self) -> HostCapabilities:
        """Find out anew what this host can do; plans made from then on count on it.

        Raises:
            LaunchFailed: The probe gave no answer; what was known before still holds.
            RuntimeStopped.
        """
        self._check_running()
        return await self._probing.again()

    def probe_soon(self) -> None:
        """The same, in the background; a failure goes to the log."""
        self._probing.start()

    def plan_worker(self, request: CreateWorkerRequest) -> PlanAnswer:
        """What a creation would come to now; starts and writes nothing. Raises what `create_worker` does."""
        self._check_running()
        self._check_ref(request.initial_input)
        return self._creation.planned(request)

    async def check(self) -> None:
        """Prove that work can be taken, by writing to the store. Raises StoreIo, RuntimeStopped."""
        self._check_running()
        await self._store.check()

    # Changing.

    async def create_worker(
        self, request: CreateWorkerRequest, *, idempotency_key: str | None = None
    ) -> WorkerDetail:
        """Create a worker and start its process as soon as the ledger has room.

        Returns when the process runs, or when the worker has to wait. With an
        `idempotency_key`, a repetition returns the same worker.

        Raises:
            LaunchFailed, SandboxSetupFailed: The process could not be started; nothing is kept.
            InsufficientResources: It asks for more than the capacity or its tenant's quota.
            WorkerExists, ResourceLimitExceeded, UnsupportedCapability,
            IdempotencyConflict, RuntimeStopped, StoreIo.
        """
        self._check_running()
        if idempotency_key is None:
            return await self._changes.finish(self._create(request, None))
        known = self._keys.find(idempotency_key, request)
        if known is not None:
            return self.worker(await asyncio.shield(known))
        claimed = self._keys.claim(idempotency_key, request)  # In this step: the next caller must find it.
        return await self._changes.finish(self._create_once(idempotency_key, claimed, request))

    async def send_input(self, worker_id: WorkerId, said: WorkerInput) -> WorkerInteractionAck:
        """Say something to a worker; acknowledged when it is in the journal and on its way.

        Raises:
            WorkerNotFound, WrongRuntime, RuntimeStopped.
            InvalidRequest: The worker has ended, or reads no more.
            InputBacklog: It reads too slowly; nothing was taken.
        """
        entry = self._changing(worker_id, said.worker_ref)
        try:
            ack = await self._ask(entry, lambda: entry.driver.take_input(said))
        except InputBacklog:
            self.tally.inputs_refused += 1
            raise
        self.tally.inputs_accepted += 1
        return ack

    async def append_events(self, worker_id: WorkerId, events: Sequence[ProducedEvent]) -> AppendEventsAnswer:
        """Append to a passive worker's journal. Raises WorkerNotFound, InvalidRequest, RuntimeStopped."""
        entry = self._changing(worker_id, None)
        produced = [Event(event.event, event.data) for event in events]
        for place, event in enumerate(produced):
            fault = shape_fault(event)
            if fault is not None:
                raise InvalidRequest(f"events.{place}: {fault}")
        records = await self._ask(entry, lambda: entry.driver.append_events(produced))
        return AppendEventsAnswer(first=encode_cursor(records[0].seq), last=encode_cursor(records[-1].seq))

    async def stop(self, worker_id: WorkerId, request: LifecycleRequest | None = None) -> WorkerLifecycleAck:
        """Ask a worker to leave, then make it leave; returns when it has ended.

        Its stdin is closed, its process group gets SIGTERM, and what is left of
        its tree SIGKILL after the grace. Stopping an ended worker changes nothing.

        Raises:
            WorkerNotFound, WrongRuntime, RuntimeStopped.
        """
        return await self._end(worker_id, Cue.STOP, request or LifecycleRequest())

    async def cancel(
        self, worker_id: WorkerId, request: LifecycleRequest | None = None
    ) -> WorkerLifecycleAck:
        """Abandon a worker: SIGKILL to its tree at once. Otherwise as `stop`."""
        return await self._end(worker_id, Cue.CANCEL, request or LifecycleRequest())

    async def interrupt(
        self, worker_id: WorkerId, request: LifecycleRequest | None = None
    ) -> WorkerLifecycleAck:
        """End the turn, keep the worker: SIGINT. Raises WorkerNotFound, InvalidRequest, RuntimeStopped."""
        return await self.signal(worker_id, "SIGINT", request)

    async def signal(
        self, worker_id: WorkerId, name: str, request: LifecycleRequest | None = None
    ) -> WorkerLifecycleAck:
        """Send a signal to a worker's process group. Raises as `interrupt`."""
        entry = self._changing(worker_id, None if request is None else request.worker_ref)
        number = signal_number(name)
        return await self._ask(entry, lambda: entry.driver.signal(number))

    async def close_stdin(
        self, worker_id: WorkerId, request: LifecycleRequest | None = None
    ) -> WorkerLifecycleAck:
        """End a worker's input after what it was sent. Raises as `interrupt`."""
        entry = self._changing(worker_id, None if request is None else request.worker_ref)
        return await self._ask(entry, entry.driver.close_stdin)

    async def remove(self, worker_id: WorkerId) -> None:
        """Forget an ended worker, its journal and its files.

        Raises:
            WorkerNotFound, WorkerActive, RuntimeStopped.
        """
        entry = self._changing(worker_id, None)
        if not entry.worker.life.ended.is_set():
            raise WorkerActive(worker_id, entry.worker.life.phase)
        self._catalog.remove(worker_id)
        self._dispatcher.release(worker_id)  # One that could not be taken over holds its room until now.
        await self._changes.finish(self._delete(entry.worker))

    async def _delete(self, worker: Worker) -> None:
        await self._store.delete(worker.worker_id)
        await self._announcements.tell_removed(worker)

    async def import_worker(self, pieces: AsyncIterator[bytes]) -> Imported:
        """Keep the worker of an archive, as it was when it was exported.

        `pieces` are the archive's bytes; what they raise passes through. Memory is
        bounded, disk is not: whoever gives them bounds them.

        Raises:
            ArchiveInvalid: It is not what an export wrote.
            WorkerExists, ResourceLimitExceeded, RuntimeStopped, StoreIo: Nothing of it is kept.
        """
        return await self._archives.take(pieces)

    async def drain(self) -> None:
        """Take no more changes, and end every worker.

        Bounded: what has not left `END_S_MAX` seconds after its grace is left to
        the executor, which kills it. Observers keep their feeds until the store
        is closed, so they see every end.
        """
        if self._stopping:
            return
        self._stopping = True
        self._dispatcher.close()
        try:
            async with asyncio.timeout(self.options.grace_ms / 1000 + END_S_MAX):
                await self._changes.wait_idle()
                for waiting in (True, False):  # Those that wait go first: theirs is the shorter end.
                    await self._leave_all(Cue.STOP, waiting=waiting)
        except TimeoutError:
            _LOG.error("workers are left %s s after their grace: %s", END_S_MAX, self._left())
        await self._announcements.tell(RuntimeEventKind.RUNTIME_STOPPED, f"runtime {self.runtime_id} stopped")

    async def leave(self) -> None:
        """Take no more changes, and let the workers go on without us.

        For a store that the next runtime opens: it adopts them. Bounded as
        `drain` is; a worker without a running process just stays in the store.
        """
        if self._stopping:
            return
        self._stopping = True
        self.tasks.leave()
        self._dispatcher.close()
        try:
            async with asyncio.timeout(END_S_MAX):
                await self._changes.wait_idle()
        except TimeoutError:
            _LOG.error("changes are left under way after %s s", END_S_MAX)
        await self._creation.close()
        await self.executor.close(keep_outliving=True)
        await self._announcements.tell(RuntimeEventKind.RUNTIME_STOPPED, f"runtime {self.runtime_id} stopped")

    async def close(self) -> None:
        """End the drivers; the executor then kills what a drain had to leave, or lets go what is kept."""
        await self.tasks.close()
        await self._creation.close()
        self._resolver.close()
        await self._probing.close()
        for entry in self._catalog:
            if entry.worker.view.events_since_state:
                await self.save_view(entry.worker)

    async def abandon(self) -> None:
        """Hasten a drain: SIGKILL to every tree that is left."""
        self._stopping = True
        await self._leave_all(Cue.CANCEL, waiting=False)

    # What drivers need (see `DriverContext`).

    def now_us(self) -> int:
        """The time, µs since 1970."""
        return system_clock_us()

    def directory(self, worker: Worker) -> Path:
        """A worker's own folder."""
        return self._store.directory(worker.worker_id)

    async def save(self, record: WorkerRecord) -> None:
        """Keep a newer version of a worker's record."""
        await self._store.save(record)

    async def save_view(self, worker: Worker) -> None:
        """Keep what spares a worker's view a replay; a store that keeps nothing needs none."""
        if self._store.durability != "none":
            with contextlib.suppress(StoreFault):  # It only costs time at the next start.
                await self._store.save_view(worker.worker_id, worker.view.state())

    async def plan(self, worker: Worker) -> ExecutionPlan | None:
        """What a worker's request comes to now; waits for the first probe. Raises UnsupportedCapability."""
        await self._probing.wait_known()
        return self._creation.resolved(worker.record.request, self._creation.asked_by(worker))

    def launch_plan(self, worker: Worker) -> LaunchPlan:
        """How to start a worker as it is planned. Raises LaunchFailed, OSError."""
        plan = worker.record.plan
        assert plan is not None
        has_own_uid = is_given(plan, "sandbox.own_uid")
        limits = held_to(worker.record.request.limits, worker.life.reservation)
        launching = Launching(
            ref=worker.ref,
            request=worker.record.request.model_copy(update={"limits": limits}),
            plan=plan,
            directory=self.directory(worker),
            uid=self._uids.take(worker.worker_id) if has_own_uid else None,
        )
        return launch_plan(launching, self.capabilities, self.options)

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

    # Inside.

    async def open(self) -> None:
        """Take over what an earlier runtime left in the store, and begin.

        Raises:
            StoreIo: The store cannot be read or written.
        """
        self._probing.start()
        if HOST in (self.options.capacity_memory_bytes, self.options.capacity_pids):
            await self._take_capacity()  # Before anybody is restored: who holds something is accounted by it.
        with not_searched():
            await self._restoration.restore()
        await self._probing.wait_known()
        for entry in self._catalog:
            record = entry.worker.record
            if record.idempotency_key is not None and record.request_digest is not None:
                self._keys.restore(record.idempotency_key, record.request_digest, record.worker_id)
        await self.tasks.open()
        await self._announcements.tell(RuntimeEventKind.RUNTIME_STARTED, f"runtime {self.runtime_id} started")

    async def _take_capacity(self) -> None:
        """Account what the host has, where that was asked for."""
        await self._probing.wait_known()
        found = host_capacity(self.options, self.capabilities.limits)
        self._ledger.take_capacity(found)
        for name in ("memory_bytes", "pids"):
            if getattr(self.options, f"capacity_{name}") == HOST and getattr(found, name) is None:
                _LOG.warning("%s is not accounted: nothing says how much this host has", name)

    async def _create_once(
        self, key: str, claimed: asyncio.Future[WorkerId], request: CreateWorkerRequest
    ) -> WorkerDetail:
        try:
            detail = await self._create(request, (key, digest_of(request)))
        except Exception as fault:
            self._keys.forget(key)
            claimed.set_exception(fault)
            claimed.exception()  # Seen: there may be nobody else who waits for it.
            raise
        claimed.set_result(detail.worker_id)
        return detail

    async def _create_task(self, request: CreateWorkerRequest, terms: TaskTerms) -> WorkerId:
        self._check_running()
        entry = await self._changes.finish(self._creation.create(request, task=terms))
        return entry.worker.worker_id

    async def _create(self, request: CreateWorkerRequest, once: tuple[str, str] | None) -> WorkerDetail:
        self._check_ref(request.initial_input)
        entry = await self._creation.create(request, once)
        return entry.worker.detail()

    async def _end(self, worker_id: WorkerId, cue: Cue, request: LifecycleRequest) -> WorkerLifecycleAck:
        entry = self._catalog.get(worker_id)
        self._check_worker_ref(worker_id, request.worker_ref)
        if not entry.worker.life.ended.is_set():
            self._check_running()
            await self._changes.finish(self._leave(entry, cue, request.reason))
        return entry.worker.lifecycle_ack()

    def _left(self) -> list[WorkerId]:
        return [entry.worker.worker_id for entry in self._catalog if entry.worker.active]

    async def _leave_all(self, cue: Cue, *, waiting: bool) -> None:
        leaving = [
            entry
            for entry in self._catalog
            if entry.worker.active and (not waiting or entry.worker.life.phase is Phase.ACCEPTED)
        ]
        await asyncio.gather(*(self._leave(entry, cue, "runtime_stopped") for entry in leaving))

    async def _leave(self, entry: Entry, cue: Cue, reason: str | None) -> None:
        if entry.worker.active:
            await entry.driver.ask(lambda: entry.driver.stop(cue, reason))
        await entry.worker.life.ended.wait()

    def _changing(self, worker_id: WorkerId, ref: WorkerRef | None) -> Entry:
        entry = self._catalog.get(worker_id)
        self._check_running()
        self._check_worker_ref(worker_id, ref)
        return entry

    async def _ask(self, entry: Entry, act: Callable[[], Awaitable[T]]) -> T:
        """Ask a worker's driver, or its state alone when the driver has left."""
        life = entry.worker.life
        if life.ended.is_set():
            if life.exit is not None and life.exit.reason == "state_poisoned":
                raise StatePoisoned(entry.worker.worker_id)
            raise InvalidRequest(f"worker {entry.worker.worker_id!r} has ended ({life.phase})")
        return await entry.driver.ask(act)

    def _check_running(self) -> None:
        if self._stopping:
            raise RuntimeStopped(self.runtime_id)

    def _check_ref(self, said: WorkerInput | None) -> None:
        if said is not None and said.worker_ref is not None and said.worker_ref.runtime_id != self.runtime_id:
            raise WrongRuntime(said.worker_ref.runtime_id, self.runtime_id)

    def _check_worker_ref(self, worker_id: WorkerId, ref: WorkerRef | None) -> None:
        if ref is None:
            return
        if ref.runtime_id != self.runtime_id:
            raise WrongRuntime(ref.runtime_id, self.runtime_id)
        if ref.worker_id != worker_id:
            raise InvalidRequest(
                f"worker_ref.worker_id {ref.worker_id!r} is not the worker of the path, {worker_id!r}"
            )


@asynccontextmanager
async def open_runtime(
    options: RuntimeOptions | None = None, store: Store | None = None
) -> AsyncIterator[Runtime]:
    """A running runtime, with a memory store of its own unless one is given.

    After the block no task is left, and no process either, but with
    `keep_workers` after `leave` those that the next runtime on this store adopts.
    """
    options = options or RuntimeOptions()
    async with AsyncExitStack() as stack:
        if store is None:
            store = await stack.enter_async_context(open_memory_store())
        executor = await stack.enter_async_context(
            open_executor(
                log_path=store.path / EXECUTOR_LOG if options.keep_workers else None,
                cgroup_enabled=options.cgroup_enabled,
                cgroup_root=options.cgroup_root,
                worker_uid=options.worker_uid_base,
            )
        )
        runtime = Runtime(options, store, executor)
        await runtime.open()
        try:
            yield runtime
        finally:
            await (runtime.leave() if options.keep_workers else runtime.drain())
            await runtime.close()
            await store.close()


def _runtime_id(options: RuntimeOptions, store: Store) -> RuntimeId:
    """That of the store, when it has one: its cursors and files belong to it."""
    if store.runtime_id is not None:
        if options.runtime_id not in {None, store.runtime_id}:
            raise ValueError(f"the store is of runtime {store.runtime_id!r}, not {options.runtime_id!r}")
        return store.runtime_id
    return options.runtime_id or generated_id("rt", system_clock_us(), secrets.randbits(RANDOM_BITS))
