"""What can be done with tasks, in the words of the task contract; see `worker_operations`."""

from __future__ import annotations

from collections.abc import Sequence

from watchglass.protocol.tasks import (
    KillTaskRequest,
    SubmitTaskAnswer,
    SubmitTaskRequest,
    TaskEvent,
    TaskId,
    TasksAnswer,
    TaskStatusResponse,
)
from watchglass.runtime import Runtime
from watchglass.runtime.tasks import TaskFilter

from .queries import StatusQuery, TasksQuery


async def submit_task(runtime: Runtime, asked: SubmitTaskRequest) -> SubmitTaskAnswer:
    """Take a task; answered when it is in the journal."""
    return await runtime.tasks.submit(asked)


def list_tasks(runtime: Runtime, asked: TasksQuery, *, only: TaskId | None = None) -> TasksAnswer:
    """Tasks in order of submission; with `only`, as if there were no other."""
    wanted = TaskFilter(status=asked.status, only=only)
    tasks, more = runtime.tasks.list(wanted, limit=asked.limit, after=asked.after)
    return TasksAnswer(tasks=list(tasks), next_after=tasks[-1].task_id if more and tasks else None)


async def show_task(runtime: Runtime, task_id: TaskId, asked: StatusQuery) -> TaskStatusResponse:
    """A task with its output, now or when it has finished."""
    return await runtime.tasks.status(task_id, wait_s=asked.wait_ms / 1000)


async def kill_task(
    runtime: Runtime, task_id: TaskId, asked: KillTaskRequest, owner: str | None
) -> TaskStatusResponse:
    """End a task; answered when it has finished."""
    return await runtime.tasks.kill(task_id, owner=owner, reason=asked.reason)


async def list_task_events(runtime: Runtime, task_id: TaskId) -> Sequence[TaskEvent]:
    """What happened to a task, in order."""
    return await runtime.tasks.events(task_id)
