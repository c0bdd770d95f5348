"""What can be asked about tasks, as calls; see `calls.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import TypeAdapter

from watchglass.protocol.execution import ControlContext, ExecutionSpec
from watchglass.protocol.task_runtime import (
    TaskRuntimeCapabilities,
    TaskRuntimeConfig,
    TaskRuntimeInfo,
    TaskRuntimeResources,
)
from watchglass.protocol.tasks import (
    KillTaskRequest,
    SubmitTaskAnswer,
    SubmitTaskRequest,
    TaskEvent,
    TasksAnswer,
    TaskStatus,
    TaskStatusResponse,
)

from . import task_endpoints as endpoints
from .call import Call
from .task_places import OWNER_HEADER

_EVENTS: Final = TypeAdapter(list[TaskEvent])


def submit_task(
    request: SubmitTaskRequest | None = None,
    *,
    program: str | None = None,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    task_id: str | None = None,
    owner: str | None = None,
    tenant: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Call[SubmitTaskAnswer]:
    """Submit a one-shot worker; answered when it is in the journal.

    `request` may say everything; the other arguments, what most tasks need.
    Those that are given go before what `request` says. Not repeated by itself:
    with a `task_id` of your own you can ask for it after `Unreachable`.
    """
    said = {} if request is None else {name: getattr(request, name) for name in request.model_fields_set}
    if program is not None:
        said["execution"] = ExecutionSpec(program=program, args=list(args), env=dict(env or {}), cwd=cwd)
    elif args or env or cwd is not None:
        raise ValueError("args, env and cwd are of a program; name it, or give them in the request")
    whose = {name: value for name, value in (("owner", owner), ("tenant", tenant)) if value is not None}
    if whose:
        said["control_context"] = said.get("control_context", ControlContext()).model_copy(update=whose)
    given = {"task_id": task_id, "metadata": None if metadata is None else dict(metadata)}
    said |= {name: value for name, value in given.items() if value is not None}
    return endpoints.SUBMIT_TASK.call(lambda answer: answer, body=SubmitTaskRequest.model_validate(said))


def list_tasks(
    *, status: TaskStatus | str | None = None, limit: int | None = None, after: str | None = None
) -> Call[TasksAnswer]:
    """The tasks in order of submission: `.tasks`, and `.next_after` when `limit` has left some out."""
    return endpoints.LIST_TASKS.call(
        lambda answer: answer, query={"status": status, "limit": limit, "after": after}
    )


def task(task_id: str, *, wait_ms: int | None = None) -> Call[TaskStatusResponse]:
    """A task with its output: now, or when it has finished, after `wait_ms` (60000 at most) at the latest."""
    return endpoints.SHOW_TASK.call(lambda answer: answer, task_id, query={"wait_ms": wait_ms})


def kill_task(
    task_id: str, *, owner: str | None = None, reason: str | None = None
) -> Call[TaskStatusResponse]:
    """End a task; answered when it has finished. One with an owner takes it from that owner alone."""
    headers = {} if owner is None else {OWNER_HEADER: owner}
    body = KillTaskRequest(reason=reason)
    return endpoints.KILL_TASK.call(lambda answer: answer, task_id, body=body, headers=headers)


def task_events(task_id: str) -> Call[list[TaskEvent]]:
    """What happened to a task, in order."""
    return endpoints.TASK_EVENTS.call_raw(lambda answer: _EVENTS.validate_json(answer.content), task_id)


def task_runtime() -> Call[TaskRuntimeInfo]:
    """Who answers, and on what machine."""
    return endpoints.TASK_RUNTIME_INFO.call(lambda answer: answer)


def task_capabilities() -> Call[TaskRuntimeCapabilities]:
    """What this host was found to be able to do for a task."""
    return endpoints.TASK_CAPABILITIES.call(lambda answer: answer)


def task_config() -> Call[TaskRuntimeConfig]:
    """How the runtime is set; nothing secret."""
    return endpoints.TASK_CONFIG.call(lambda answer: answer)


def task_resources() -> Call[TaskRuntimeResources]:
    """The ledger: what there is, and which task holds which part of it."""
    return endpoints.TASK_RESOURCES.call(lambda answer: answer)
