"""What changes workers: they are made, spoken to, asked to leave, forgotten.

A change that was begun is finished even when its caller is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.errors import (
    InputBacklog,
    InvalidRequest,
    StatePoisoned,
    WorkerNotFound,
    WrongRuntime,
)
from watchglass.protocol.events import AppendEventsAnswer, Event, ProducedEvent, shape_fault
from watchglass.protocol.identity import WorkerId, WorkerRef
from watchglass.protocol.lifecycle import Cue
from watchglass.protocol.tasks import TaskTerms
from watchglass.protocol.workers import (
    CreateWorkerRequest,
    LifecycleRequest,
    WorkerDetail,
    WorkerInput,
    WorkerInteractionAck,
    WorkerLifecycleAck,
)

from .archives import Imported
from .catalog import Entry
from .changes import Changes
from .idempotency import IdempotencyKeys, digest_of
from .reading import Reading
from .signal_names import signal_number
from .tally import Tally
from .worker import Worker

T = TypeVar("T")


class Changing(Reading):
    """The side of a `Runtime` that changes its workers."""

    tally: Tally
    _changes: Changes
    _keys: IdempotencyKeys

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
                raise InvalidRequest(f"events.{place}.{fault}")
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
        await entry.worker.wait_ended()
        if self._changing(worker_id, None) is not entry:  # It was removed meanwhile, and another one made.
            raise WorkerNotFound(worker_id)
        self._catalog.remove(worker_id)
        self._dispatcher.release(worker_id)  # One that could not be taken over holds its room until now.
        await self._changes.finish(self._delete(entry.worker))

    async def import_worker(self, pieces: AsyncIterator[bytes]) -> Imported:
        """Keep the worker of an archive, as it was when it was exported.

        `pieces` are the archive's bytes; what they raise passes through. Memory is
        bounded, disk is not: whoever gives them bounds them.

        Raises:
            ArchiveInvalid: It is not what an export wrote.
            WorkerExists, ResourceLimitExceeded, RuntimeStopped, StoreIo: Nothing of it is kept.
        """
        return await self._archives.take(pieces)

    # Inside.

    async def _delete(self, worker: Worker) -> None:
        await self._store.delete(worker.worker_id)
        await self._announcements.tell_removed(worker)

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

    def _check_worker_ref(self, worker_id: WorkerId, ref: WorkerRef | None) -> None:
        if ref is None:
            return
        if ref.runtime_id != self.runtime_id:
            raise WrongRuntime(ref.runtime_id, self.runtime_id)
        if ref.worker_id != worker_id:
            raise InvalidRequest(
                f"worker_ref.worker_id {ref.worker_id!r} is not the worker of the path, {worker_id!r}"
            )
