"""What a runtime tells: works until the end, also while it stops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from watchglass import __version__
from watchglass.protocol.all_workers import Chosen
from watchglass.protocol.capabilities import Capabilities, PlanAnswer
from watchglass.protocol.errors import InvalidRequest, RuntimeStopped, WrongRuntime
from watchglass.protocol.identity import RuntimeId, WorkerId
from watchglass.protocol.lifecycle import WorkerStatus
from watchglass.protocol.runtime import (
    RuntimeDiagnostic,
    RuntimeEventBatch,
    RuntimeEventCursor,
    RuntimeResources,
    RuntimeSummary,
)
from watchglass.protocol.start import FeedQuery
from watchglass.protocol.workers import (
    CreateWorkerRequest,
    TranscriptProjection,
    WorkerDetail,
    WorkerExplanation,
    WorkerInput,
    WorkerSummary,
)
from watchglass.store.base import Retention, Store
from watchglass.store.numbering import rfc3339

from .announcements import Announcements
from .archives import Archives
from .capabilities import HostCapabilities
from .catalog import Catalog, WorkerFilter
from .chronicle import Chronicle
from .creation import Creation
from .describing import described
from .dispatcher import Dispatcher
from .explaining import explain, without_others
from .ledger import Ledger
from .observation import Observation, Reader, SubjectPin
from .options import RuntimeOptions
from .pins import Pin, pinned, unpinned
from .probing import Probing
from .resources import resources

StreamName = Literal["stdout", "stderr"]


class Reading:
    """The side of a `Runtime` that changes nothing of its workers."""

    options: RuntimeOptions
    runtime_id: RuntimeId
    started_us: int
    _store: Store
    _catalog: Catalog
    _ledger: Ledger
    _dispatcher: Dispatcher
    _observation: Observation
    _chronicle: Chronicle
    _announcements: Announcements
    _archives: Archives
    _probing: Probing
    _creation: Creation
    _stopping: bool

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

    def explain(self, worker_id: WorkerId, *, names_others: bool = True) -> WorkerExplanation:
        """Why a worker is where it is, and whom it waits for if `names_others`. Raises WorkerNotFound."""
        worker, place = self._catalog.get(worker_id).worker, self._dispatcher.place(worker_id)
        if place is not None and not names_others:
            place = without_others(worker_id, place)
        return explain(worker, place, self._ledger)

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

    async def runtime_events(
        self, cursor: RuntimeEventCursor | None, limit: int | None, *, only: WorkerId | None = None
    ) -> RuntimeEventBatch:
        """The runtime's own events, or those of one worker. Raises as `Announcements.batch`."""
        return await self._announcements.batch(cursor, limit, only)

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

    # Inside.

    def _check_running(self) -> None:
        if self._stopping:
            raise RuntimeStopped(self.runtime_id)

    def _check_ref(self, said: WorkerInput | None) -> None:
        if said is not None and said.worker_ref is not None and said.worker_ref.runtime_id != self.runtime_id:
            raise WrongRuntime(said.worker_ref.runtime_id, self.runtime_id)
