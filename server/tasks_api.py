"""`/api/v1/tasks`: one-shot workers in the words of the task contract."""

from __future__ import annotations

from pydantic import Field
from quart import Blueprint, Response, request
from quart_schema import document_headers, document_querystring, document_request, document_response

from watchglass.protocol.errors import (
    InsufficientResources,
    InvalidQuery,
    InvalidWorkerId,
    PermissionDenied,
    ResourceLimitExceeded,
    RuntimeStopped,
    StoreCorrupt,
    StoreIo,
    StoreMissing,
    TaskNotFound,
    UnsupportedCapability,
    WorkerExists,
)
from watchglass.protocol.identity import parse_worker_id
from watchglass.protocol.tasks import (
    KillTaskRequest,
    SubmitTaskAnswer,
    SubmitTaskRequest,
    TaskEvent,
    TaskId,
    TasksAnswer,
    TaskStatus,
    TaskStatusResponse,
)
from watchglass.runtime.tasks import TaskFilter

from .callers import the_caller
from .exchange import Query, answer, answer_list, body, body_or_default, query, refuses, the_runtime

OWNER_HEADER = "x-execgo-owner"
WAIT_MS_MAX = 60_000
LIMIT_DEFAULT = 256
_COUNT_MAX = 1 << 53

tasks_api = Blueprint("tasks", __name__, url_prefix="/api/v1/tasks")


class TasksQuery(Query):
    """Which tasks, and how many of them."""

    status: TaskStatus | None = None
    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=_COUNT_MAX)
    after: str | None = Field(default=None, description="the task id that the page before ended with")


class StatusQuery(Query):
    """How long to wait for the task's end before answering."""

    wait_ms: int = Field(default=0, ge=0, le=WAIT_MS_MAX)


class KillHeaders(Query):
    """Who asks; a task with an owner takes it from nobody else."""

    x_execgo_owner: str | None = None


@tasks_api.url_value_preprocessor
def _check_task_id(_endpoint: str | None, values: dict[str, str] | None) -> None:
    if values and "task_id" in values:
        parse_worker_id(values["task_id"])


@tasks_api.post("")
@document_request(SubmitTaskRequest)
@document_response(SubmitTaskAnswer)
@refuses(
    WorkerExists, UnsupportedCapability, InsufficientResources, ResourceLimitExceeded, RuntimeStopped, StoreIo
)
async def submit_task() -> Response:
    """Submit a task; answered when it is in the journal."""
    return answer(await the_runtime().tasks.submit(await body(SubmitTaskRequest)))


@tasks_api.get("")
@document_querystring(TasksQuery)
@document_response(TasksAnswer)
@refuses(InvalidQuery)
async def list_tasks() -> Response:
    """List tasks, in order of submission."""
    asked = query(TasksQuery)
    tasks, more = the_runtime().tasks.list(
        TaskFilter(status=asked.status, only=the_caller().only_worker), limit=asked.limit, after=asked.after
    )
    return answer(TasksAnswer(tasks=list(tasks), next_after=tasks[-1].task_id if more and tasks else None))


@tasks_api.get("/<task_id>")
@document_querystring(StatusQuery)
@document_response(TaskStatusResponse)
@refuses(InvalidWorkerId, InvalidQuery, TaskNotFound, StoreIo)
async def show_task(task_id: TaskId) -> Response:
    """Show a task with its output, now or when it has finished."""
    asked = query(StatusQuery)
    return answer(await the_runtime().tasks.status(task_id, wait_s=asked.wait_ms / 1000))


@tasks_api.post("/<task_id>/kill")
@document_headers(KillHeaders)
@document_request(KillTaskRequest)
@document_response(TaskStatusResponse)
@refuses(InvalidWorkerId, TaskNotFound, PermissionDenied, RuntimeStopped, StoreIo)
async def kill_task(task_id: TaskId) -> Response:
    """End a task; answered when it has finished."""
    asked = await body_or_default(KillTaskRequest)
    owner = request.headers.get(OWNER_HEADER)
    return answer(await the_runtime().tasks.kill(task_id, owner=owner, reason=asked.reason))


@tasks_api.get("/<task_id>/events")
@document_response(list[TaskEvent])
@refuses(InvalidWorkerId, TaskNotFound, StoreIo, StoreMissing, StoreCorrupt)
async def list_task_events(task_id: TaskId) -> Response:
    """List what happened to a task, in order."""
    return answer_list(await the_runtime().tasks.events(task_id))
