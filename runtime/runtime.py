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
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from watchglass.protocol.identity import RANDOM_BITS, RuntimeId, WorkerId, generated_id
from watchglass.protocol.lifecycle import Cue, Phase
from watchglass.protocol.runtime import RuntimeEventKind
from watchglass.store.base import Store
from watchglass.store.garbage import not_searched
from watchglass.store.memory import open_memory_store
from watchglass.store.numbering import system_clock_us

from .admission import Admission
from .announcements import Announcements
from .archives import Archives
from .capabilities import HostCapabilities
from .capacity import host_capacity, ledger_of
from .catalog import Catalog
from .cgroup_root import telling
from .changes import Changes
from .changing import Changing
from .chronicle import Chronicle
from .creation import Creation
from .dispatcher import Dispatcher
from .egress import Gateway, SystemResolver
from .executor import Executor, open_executor
from .idempotency import IdempotencyKeys
from .last_uid import last_uid_in
from .observation import Observation
from .options import HOST, RuntimeOptions
from .plans import Plans
from .probing import Probing
from .restoring import Restoration
from .services import Services
from .tally import Tally
from .task_description import Description
from .tasks import Tasks, first_files
from .uids import WorkerUids, worker_uids

END_S_MAX = 15.0
"""How long after its grace a worker may take to end before a drain goes on without it."""

EXECUTOR_LOG = "executor.log"
"""Beside the store's files: where processes write that outlive us, when they fail."""

_LOG = logging.getLogger(__name__)


class Runtime(Changing, Services):
    """Workers, their journals and who watches them. Made by `open_runtime`."""

    def __init__(
        self,
        options: RuntimeOptions,
        store: Store,
        executor: Executor,
        capabilities: HostCapabilities | None = None,
    ) -> None:
        self.options = options
        self.runtime_id = _runtime_id(options, store)
        self.started_us = system_clock_us()
        self._stopping = False
        # On what its workers run, and what is kept of them.
        self.executor = executor
        self._probing = Probing(telling(executor.probe, options.cgroup_root), capabilities)
        self._resolver = SystemResolver()
        self.gateway = Gateway(self._resolver)
        self._store = store
        self._catalog = Catalog(options.workers_max)
        self._ledger = ledger_of(options)
        self._dispatcher = Dispatcher(self._ledger, options.waiting_workers_max)
        self._uids = WorkerUids(
            worker_uids(
                options.worker_uid_base, options.worker_uid_count, running_max=options.running_workers_max
            ),
            last_uid_in(store),
        )
        self._keys = IdempotencyKeys()
        # Who is told of them, and who counts.
        self.tally = Tally()
        self._announcements = Announcements(
            self.runtime_id, store.runtime_log, options.limits.max_event_batch_items
        )
        self._observation = Observation(options.observers_max, system_clock_us)
        self._chronicle = Chronicle(store, self._catalog, system_clock_us, self.summary)
        # What makes them, brings them back, and shows them in other words.
        self._changes = Changes()
        self._admission = Admission(
            runtime_id=self.runtime_id,
            catalog=self._catalog,
            ledger=self._ledger,
            dispatcher=self._dispatcher,
            changes=self._changes,
            tally=self.tally,
            context=self,
        )
        self._creation = Creation(
            plans=Plans(options, lambda: self.capabilities),
            store=store,
            announcements=self._announcements,
            tally=self.tally,
            admission=self._admission,
            files_of=first_files,
        )
        self._restoration = Restoration(
            grace_ms=options.grace_ms,
            store=store,
            executor=executor,
            uids=self._uids,
            announcements=self._announcements,
            admission=self._admission,
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
        self.tasks = Tasks(
            options, store, self._catalog, create=self._create_task, stop=self.stop, remove=self.remove
        )
        self.task_runtime = Description(self, store)

    async def open(self) -> None:
        """Take over what an earlier runtime left in the store, and begin.

        Raises:
            StoreIo: The store cannot be read or written.
        """
        self._probing.begin()
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
        await self._admission.close()
        await self.executor.close(keep_outliving=True)
        await self._announcements.tell(RuntimeEventKind.RUNTIME_STOPPED, f"runtime {self.runtime_id} stopped")

    async def close(self) -> None:
        """End the drivers; the executor then kills what a drain had to leave, or lets go what is kept."""
        await self.tasks.close()
        await self._admission.close()
        self._resolver.close()
        await self._probing.close()
        for entry in self._catalog:
            if entry.worker.view.events_since_state:
                await self.save_view(entry.worker)

    async def abandon(self) -> None:
        """Hasten a drain: SIGKILL to every tree that is left."""
        self._stopping = True
        await self._leave_all(Cue.CANCEL, waiting=False)

    # Inside.

    def _left(self) -> list[WorkerId]:
        return [entry.worker.worker_id for entry in self._catalog if entry.worker.active]

    async def _leave_all(self, cue: Cue, *, waiting: bool) -> None:
        leaving = [
            entry
            for entry in self._catalog
            if entry.worker.active and (not waiting or entry.worker.life.phase is Phase.ACCEPTED)
        ]
        await asyncio.gather(*(self._leave(entry, cue, "runtime_stopped") for entry in leaving))


@asynccontextmanager
async def open_runtime(
    options: RuntimeOptions | None = None,
    store: Store | None = None,
    *,
    capabilities: HostCapabilities | None = None,
) -> AsyncIterator[Runtime]:
    """A running runtime, with a memory store of its own unless one is given.

    `capabilities` are what an earlier runtime with the same options about workers'
    users and groups found on this host: then the start does not look again, and
    no process is started before somebody wants one.

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
                at_hand=capabilities is None,
            )
        )
        runtime = Runtime(options, store, executor, capabilities)
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
