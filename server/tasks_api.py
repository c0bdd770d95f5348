"""`/api/v1/tasks`: one-shot workers in the words of the task contract."""

from __future__ import annotations

from quart import Blueprint, Response
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
    TaskStatusResponse,
)

from . import task_operations as operations
from .callers import the_caller
from .exchange import answer, answer_list, body, body_or_default, one_header, query, refuses, the_runtime
from .queries import Query, StatusQuery, TasksQuery

OWNER_HEADER = "x-execgo-owner"

tasks_api = Blueprint("tasks", __name__, url_prefix="/api/v1/tasks")


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
    return answer(await operations.submit_task(the_runtime(), await body(SubmitTaskRequest)))


@tasks_api.get("")
@document_querystring(TasksQuery)
@document_response(TasksAnswer)
@refuses(InvalidQuery)
async def list_tasks() -> Response:
    """List tasks, in order of submission."""
    asked, only = query(TasksQuery), the_caller().only_worker
    return answer(operations.list_tasks(the_runtime(), asked, only=only))


@tasks_api.get("/<task_id>")
@document_querystring(StatusQuery)
@document_response(TaskStatusResponse)
@refuses(InvalidWorkerId, InvalidQuery, TaskNotFound, StoreIo)
async def show_task(task_id: TaskId) -> Response:
    """Show a task with its output, now or when it has finished."""
    return answer(await operations.show_task(the_runtime(), task_id, query(StatusQuery)))


@tasks_api.post("/<task_id>/kill")
@document_headers(KillHeaders)
@document_request(KillTaskRequest)
@document_response(TaskStatusResponse)
@refuses(InvalidWorkerId, TaskNotFound, PermissionDenied, RuntimeStopped, StoreIo)
async def kill_task(task_id: TaskId) -> Response:
    """End a task; answered when it has finished."""
    asked = await body_or_default(KillTaskRequest)
    owner = one_header(OWNER_HEADER)
    return answer(await operations.kill_task(the_runtime(), task_id, asked, owner))


@tasks_api.get("/<task_id>/events")
@document_response(list[TaskEvent])
@refuses(InvalidWorkerId, TaskNotFound, StoreIo, StoreMissing, StoreCorrupt)
async def list_task_events(task_id: TaskId) -> Response:
    """List what happened to a task, in order."""
    return answer_list(await operations.list_task_events(the_runtime(), task_id))
