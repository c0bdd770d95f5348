"""Requests about tasks and the answers (task contract, "Requests").

A task is a one-shot worker: it takes no input, and ends by itself or is killed.
Field names and defaults are the contract's; fields below a comment "ours" are
additions. A field that is null counts as left out, as clients of typed
languages send it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pydantic import Field, model_validator

from .base import Wire
from .execution import (
    ControlContext,
    ExecutionPlan,
    ExecutionSpec,
    Metadata,
    Policy,
    Positive,
    Reservation,
    Sandbox,
    TaskLimits,
    Usage,
)
from .identity import WorkerId
from .lifecycle import Phase

TaskId = WorkerId
"""A task's id is its worker's: one catalog has both."""


class TaskStatus(StrEnum):
    """The task contract's word for where a task is."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


STATUS_OF: Final[dict[Phase, TaskStatus]] = {
    Phase.ACCEPTED: TaskStatus.ACCEPTED,
    Phase.STARTING: TaskStatus.ACCEPTED,
    Phase.RUNNING: TaskStatus.RUNNING,
    Phase.STOPPING: TaskStatus.RUNNING,
    Phase.SUCCEEDED: TaskStatus.SUCCESS,
    Phase.STOPPED: TaskStatus.CANCELLED,
    Phase.CANCELLED: TaskStatus.CANCELLED,
    Phase.FAILED: TaskStatus.FAILED,
    Phase.LOST: TaskStatus.FAILED,
}
"""A worker's phase in the contract's words. Whoever was asked to leave is cancelled, whatever its exit."""

FINISHED: Final = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED})


class TaskTerms(Wire):
    """What only a task is asked for; a worker that has them is a task.

    They bound what a status answer inlines of each stream, not what is kept.
    """

    stdout_max_bytes: Positive
    stderr_max_bytes: Positive


class SubmitTaskRequest(Wire):
    """A task to run once."""

    task_id: TaskId | None = None
    execution: ExecutionSpec
    limits: TaskLimits = Field(default_factory=TaskLimits)
    sandbox: Sandbox = Field(default_factory=Sandbox)
    policy: Policy = Field(default_factory=Policy)
    control_context: ControlContext = Field(default_factory=ControlContext)
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, said: Any) -> Any:
        return _without_nulls(said, _PARTS) if isinstance(said, Mapping) else said


_PARTS: Final[dict[str, Any]] = {
    "execution": {},
    "limits": {},
    "sandbox": {"namespaces": {}},
    "policy": {},
    "control_context": {},
}
"""The objects of a request whose fields have names; of a map the values are the caller's."""


def _without_nulls(said: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nulls(value, parts[name]) if name in parts and isinstance(value, Mapping) else value
        for name, value in said.items()
        if value is not None
    }


class SubmitTaskAnswer(Wire):
    """The task is in the journal; it starts when there is room."""

    task_id: TaskId
    handle_id: str
    status: TaskStatus = TaskStatus.ACCEPTED


class TaskErrorCode(StrEnum):
    """Why a finished task is no success."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    MEMORY_LIMIT_EXCEEDED = "memory_limit_exceeded"
    CPU_LIMIT_EXCEEDED = "cpu_limit_exceeded"
    RESOURCE_LIMIT_EXCEEDED = "resource_limit_exceeded"
    SANDBOX_SETUP_FAILED = "sandbox_setup_failed"
    EXIT_NON_ZERO = "exit_non_zero"
    LAUNCH_FAILED = "launch_failed"
    UNSUPPORTED_CAPABILITY = "unsupported_capability"
    INTERNAL = "internal"


class TaskError(Wire):
    """A code for programs, a sentence for people, and the facts."""

    code: TaskErrorCode
    message: str
    details: dict[str, Any] | None = None


class TaskArtifacts(Wire):
    """Where a task's files are: `task_dir` is the folder of its own.

    `result_path` is there once the task has finished, and holds the final
    status answer.
    """

    task_dir: str
    request_path: str
    result_path: str
    stdout_path: str
    stderr_path: str
    script_path: str | None = None


class TaskStatusResponse(Wire):
    """A task, whole. Times are RFC 3339, UTC; process ids are there while it runs."""

    task_id: TaskId
    handle_id: str
    status: TaskStatus
    created_at: str
    updated_at: str
    started_at: str | None = None
    finished_at: str | None = None
    duration_ms: int | None = None
    shim_pid: int | None = None
    pid: int | None = None
    pgid: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    error: TaskError | None = None
    usage: Usage | None = None
    execution_plan: ExecutionPlan | None = None
    reservation: Reservation | None = None
    artifacts: TaskArtifacts
    metadata: Metadata


class TaskSummary(Wire):
    """A task as a list shows it: everything but its output and its plan."""

    task_id: TaskId
    handle_id: str
    status: TaskStatus
    created_at: str
    updated_at: str
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    metadata: Metadata


class TasksAnswer(Wire):
    """Tasks in order of submission; `next_after` continues a page, null at the end. Ours."""

    tasks: list[TaskSummary]
    next_after: TaskId | None = None


class TaskEventType(StrEnum):
    """What is told of a task's way."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PLANNED = "planned"
    DEGRADED = "degraded"
    RESOURCE_RESERVED = "resource_reserved"
    RESOURCE_RELEASED = "resource_released"
    STARTED = "started"
    KILL_REQUESTED = "kill_requested"
    TIMEOUT_TRIGGERED = "timeout_triggered"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RECOVERED = "recovered"


class TaskEvent(Wire):
    """One step of a task; `seq` is the sequence of its event in the journal, and grows."""

    seq: int
    task_id: TaskId
    event_type: TaskEventType
    timestamp: str
    message: str | None = None
    data: dict[str, Any] | None = None


class KillTaskRequest(Wire):
    """The optional body of a kill. Ours."""

    reason: str | None = Field(default=None, max_length=4096)
