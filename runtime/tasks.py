"""Tasks: one-shot workers, in the words of the task contract.

    submit ─▶ a worker with terms       kill ─▶ its stop
    status, events, list ─▶ the worker, its journal and its files, read

A face: it owns no process and no second copy of a state. What it does of its own
is two files in the worker's folder and the forgetting of old ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from watchglass.protocol.errors import (
    LAUNCH_FAULTS,
    InvalidQuery,
    PermissionDenied,
    StoreFault,
    TaskNotFound,
    WorkerNotFound,
)
from watchglass.protocol.execution import Reservation
from watchglass.protocol.tasks import (
    SubmitTaskAnswer,
    SubmitTaskRequest,
    TaskErrorCode,
    TaskEvent,
    TaskId,
    TaskStatus,
    TaskStatusResponse,
    TaskSummary,
    TaskTerms,
)
from watchglass.protocol.workers import CreateWorkerRequest, LifecycleRequest
from watchglass.store.base import Store
from watchglass.store.numbering import system_clock_us
from watchglass.store.worker_record import WorkerRecord

from . import task_folder as folder
from .catalog import Catalog
from .final_answers import FinalAnswers
from .options import RuntimeOptions
from .task_answers import answer_of, duration_ms, error_code, status_of, summary_of
from .task_collector import Collector
from .task_history import read_history
from .task_requests import task_request, terms_of, worker_request
from .task_tally import TaskTally
from .worker import Worker

_LOG = logging.getLogger(__name__)
Create = Callable[[CreateWorkerRequest, TaskTerms], Awaitable[TaskId]]
End = Callable[[TaskId, LifecycleRequest], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks of a list are asked for; an empty field asks for all."""

    status: TaskStatus | None = None
    only: TaskId | None = None
    """There is no other task than this one, for whoever asks."""


def first_files(record: WorkerRecord) -> Mapping[str, bytes]:
    """What a new worker's folder holds of the task that it is, if it is one."""
    return {} if record.task is None else {folder.REQUEST: folder.content(task_request(record))}


class Tasks:
    """The tasks of one runtime."""

    def __init__(
        self,
        options: RuntimeOptions,
        store: Store,
        catalog: Catalog,
        *,
        create: Create,
        stop: End,
        remove: Callable[[TaskId], Awaitable[None]],
    ) -> None:
        """`create`, `stop` and `remove` are the runtime's own, for any worker."""
        self.tally = TaskTally()
        self._store = store
        self._catalog = catalog
        self._create = create
        self._stop = stop
        self._remove = remove
        self._is_leaving = False
        self._waits: set[asyncio.Timeout] = set()
        self._final_answers = FinalAnswers()
        self._collector = Collector(
            retention_us=options.task_retention_s * 1_000_000,
            interval_s=options.gc_interval_ms / 1000,
            now_us=system_clock_us,
            remove=self._remove_if_finished,
        )

    async def submit(self, request: SubmitTaskRequest) -> SubmitTaskAnswer:
        """Take a task; it starts when there is room.

        Returns when it is in the journal. A program that cannot be started is told
        as the task's end (`launch_failed`), for it may start much later.

        Raises:
            WorkerExists, ResourceLimitExceeded, UnsupportedCapability, RuntimeStopped, StoreIo:
                Nothing of it is kept.
        """
        task_id = await self._create(worker_request(request), terms_of(request))
        self.tally.count(TaskStatus.ACCEPTED)
        return SubmitTaskAnswer(task_id=task_id, handle_id=task_id)

    async def status(self, task_id: TaskId, *, wait_s: float = 0) -> TaskStatusResponse:
        """A task, whole: as it is now, or when it has finished within `wait_s` seconds.

        Raises:
            TaskNotFound.
            StoreIo: Its output cannot be read.
        """
        worker = self._task(task_id)
        if wait_s > 0:
            await self._wait(worker, wait_s)
        return await self._newest_answer(worker)

    async def wait_finished(self, task_id: TaskId, *, wait_s: float) -> None:
        """Return when a task has finished, after `wait_s` seconds at the latest. Raises TaskNotFound."""
        await self._wait(self._task(task_id), wait_s)

    def list(
        self, wanted: TaskFilter, *, limit: int | None = None, after: TaskId | None = None
    ) -> tuple[Sequence[TaskSummary], bool]:
        """Tasks in order of submission, and whether more follow. Raises InvalidQuery."""
        tasks = [entry.worker for entry in self._catalog if entry.worker.record.task is not None]
        tasks = [task for task in tasks if wanted.only in {None, task.worker_id}]
        if after is not None:
            ids = [task.worker_id for task in tasks]
            if after not in ids:
                raise InvalidQuery("after", after, "no task has this id")
            tasks = tasks[ids.index(after) + 1 :]
        admitted = [task for task in tasks if wanted.status is None or status_of(task) is wanted.status]
        page = admitted if limit is None else admitted[:limit]
        return [summary_of(task) for task in page], len(page) < len(admitted)

    async def kill(
        self, task_id: TaskId, *, owner: str | None = None, reason: str | None = None
    ) -> TaskStatusResponse:
        """End a task; returns when it has finished: at once when it had not started.

        SIGTERM to its process group, SIGKILL to what is left after the grace. A
        finished task gets no signal.

        Raises:
            TaskNotFound, RuntimeStopped.
            PermissionDenied: It has an owner, and `owner` is somebody else, or nobody.
            StoreIo: Its output cannot be read.
        """
        worker = self._task(task_id)
        await self.end(task_id, owner=owner, reason=reason)
        return await self._newest_answer(worker)

    async def end(self, task_id: TaskId, *, owner: str | None = None, reason: str | None = None) -> None:
        """As `kill`, without its answer. Raises TaskNotFound, RuntimeStopped, PermissionDenied."""
        worker = self._task(task_id)
        theirs = worker.record.request.control_context.owner
        if theirs is not None and theirs != owner:
            raise PermissionDenied(task_id, theirs)
        await self._stop(task_id, LifecycleRequest(reason=reason))

    async def events(self, task_id: TaskId) -> Sequence[TaskEvent]:
        """What is kept of a task's events, in order.

        Raises:
            TaskNotFound.
            StoreIo, StoreMissing, StoreCorrupt: Its journal cannot be read.
        """
        worker = self._task(task_id)
        return await read_history(task_id, worker.log)

    @property
    def running_count(self) -> int:
        """How many tasks have a process now."""
        tasks = (entry.worker for entry in self._catalog if entry.worker.record.task is not None)
        return sum(status_of(task) is TaskStatus.RUNNING for task in tasks)

    # What the runtime tells.

    async def open(self) -> None:
        """The catalog is filled: give the tasks in it what they lack, and begin to collect."""
        for entry in self._catalog:
            await self.restored(entry.worker)
        self._collector.start()

    async def restored(self, worker: Worker) -> None:
        """A worker of an earlier runtime, or of an archive, is in the catalog."""
        if worker.record.task is None:
            return
        directory = self._store.directory(worker.worker_id)
        if not folder.is_there(directory, folder.REQUEST):
            self._keep_request(worker)
        if worker.record.end is None:
            return  # It goes on, or nobody can say what it is.
        self._collector.add(worker.worker_id, worker.record.end.finished_us)
        if not folder.is_there(directory, folder.RESULT):
            await self._keep_result(worker)

    async def on_ended(self, worker: Worker) -> None:
        """A worker's journal has its end."""
        if worker.record.task is None or worker.life.exit is None or worker.life.finished_us is None:
            return
        code = await self._keep_result(worker) or error_code(worker.life.phase, worker.life.exit)
        self.tally.finished(status_of(worker, is_final=True), code, duration_ms(worker))
        self._collector.add(worker.worker_id, worker.life.finished_us)

    def leave(self) -> None:
        """The runtime stops, and keeps its workers: nobody waits for their end here any more."""
        self._is_leaving = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0)

    async def close(self) -> None:
        """Collect no more."""
        self.leave()
        await self._collector.stop()

    # Inside.

    def _task(self, task_id: TaskId) -> Worker:
        try:
            worker = self._catalog.get(task_id).worker
        except WorkerNotFound:
            raise TaskNotFound(task_id) from None
        if worker.record.task is None:
            raise TaskNotFound(task_id)
        return worker

    async def _newest_answer(self, worker: Worker) -> TaskStatusResponse:
        final = self._final_answers.find(worker) if worker.life.ended.is_set() else None
        return final or await self._answer(worker)

    async def _answer(self, worker: Worker, *, is_final: bool | None = None) -> TaskStatusResponse:
        directory = self._store.directory(worker.worker_id)
        return await answer_of(worker, directory, self._reservation(worker), is_final=is_final)

    def _reservation(self, worker: Worker) -> Reservation | None:
        """What a worker holds, or held when it has ended; None: it never started."""
        life = worker.life
        tried = life.exit is not None and life.exit.reason in LAUNCH_FAULTS
        held = worker.record.reservation if tried or life.started_us is not None else None
        return life.reservation or held

    async def _wait(self, worker: Worker, wait_s: float) -> None:
        if worker.life.ended.is_set():
            return
        try:
            async with asyncio.timeout(0 if self._is_leaving else wait_s) as wait:
                self._waits.add(wait)
                await worker.life.ended.wait()
        except TimeoutError:
            pass
        finally:
            self._waits.discard(wait)

    def _keep_request(self, worker: Worker) -> None:
        directory = self._store.directory(worker.worker_id)
        try:
            folder.write(directory, folder.REQUEST, task_request(worker.record))
        except OSError as fault:  # The store has it; the next start tries again.
            _LOG.warning("task %s has no %s: %s", worker.worker_id, folder.REQUEST, fault)

    async def _keep_result(self, worker: Worker) -> TaskErrorCode | None:
        """Write the final status; the code of its error."""
        directory = self._store.directory(worker.worker_id)
        try:
            answer = await self._answer(worker, is_final=True)
            self._final_answers.keep(worker, answer)
            folder.write(directory, folder.RESULT, answer)
        except (OSError, StoreFault) as fault:  # As above.
            _LOG.warning("task %s has no %s: %s", worker.worker_id, folder.RESULT, fault)
            return None
        return None if answer.error is None else answer.error.code

    async def _remove_if_finished(self, task_id: TaskId, finished_us: int) -> None:
        worker = self._catalog.get(task_id).worker
        if worker.record.task is not None and worker.life.finished_us == finished_us:
            await self._remove(task_id)
