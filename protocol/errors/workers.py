"""Workers, and the runtime that has them, as they are: not there, there already, not ready for it."""

from __future__ import annotations

from .base import RuntimeFault, printable, shown


class WorkerNotFound(RuntimeFault):
    """No worker has this id."""

    code = "worker_not_found"

    def __init__(self, worker_id: str) -> None:
        super().__init__(f"no worker {shown(worker_id)}")
        self.worker_id = worker_id


class TaskNotFound(RuntimeFault):
    """No task has this id; a worker that was not asked for as a task is none."""

    code = "task_not_found"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {shown(task_id)}")
        self.task_id = task_id


class WorkerExists(RuntimeFault):
    """The id that the caller chose for a new worker is taken."""

    code = "worker_exists"

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            f"worker {worker_id!r} exists already; choose another worker_id, or remove that worker first"
        )
        self.worker_id = worker_id


class WorkerActive(RuntimeFault):
    """Only an ended worker can be removed, or exported."""

    code = "worker_active"

    def __init__(self, worker_id: str, phase: str) -> None:
        super().__init__(f"worker {worker_id!r} is {phase}; this takes an ended one: stop or cancel it first")
        self.worker_id = worker_id
        self.phase = phase


class IdempotencyConflict(RuntimeFault):
    """An Idempotency-Key that came with another request before."""

    code = "idempotency_conflict"

    def __init__(self, key: str) -> None:
        super().__init__(f"Idempotency-Key {shown(key)} was used for a different request; use a new key")
        self.key = key


class RuntimeStopped(RuntimeFault):
    """The runtime takes no more changes; reads still work."""

    code = "runtime_stopped"

    def __init__(self, runtime_id: str) -> None:
        super().__init__(f"runtime {runtime_id!r} is stopping and takes no more changes")
        self.runtime_id = runtime_id


class InputBacklog(RuntimeFault):
    """The worker does not read its input as fast as it is sent."""

    code = "input_backlog"

    def __init__(self, worker_id: str, backlog_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"worker {worker_id!r} has {backlog_bytes} bytes of input that it did not read yet, "
            f"and this one would pass the bound of {limit_bytes}; nothing was taken, send it again later"
        )
        self.worker_id = worker_id
        self.backlog_bytes = backlog_bytes
        self.limit_bytes = limit_bytes


class StatePoisoned(RuntimeFault):
    """The task that owns a worker's state failed; the worker was killed."""

    code = "state_poisoned"

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            f"the state of worker {worker_id!r} is unusable after an internal failure; see the log"
        )
        self.worker_id = worker_id


class ArchiveInvalid(RuntimeFault):
    """What should be imported is not what an export wrote; nothing of it is kept."""

    code = "archive_invalid"

    def __init__(self, member: str | None, reason: str) -> None:
        """`member`: the name of the one at fault; None: the archive as a whole."""
        place = "the archive" if member is None else f"{shown(member)} of the archive"
        super().__init__(f"{place}: {reason}")
        self.member = None if member is None else printable(member)
        self.reason = reason
