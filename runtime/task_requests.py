"""A task's request as a worker's, and back. Pure."""

from __future__ import annotations

from typing import Final

from watchglass.protocol.execution import Limits, TaskLimits
from watchglass.protocol.tasks import SubmitTaskRequest, TaskTerms
from watchglass.protocol.workers import CreateWorkerRequest, TaskIntent
from watchglass.store.worker_record import WorkerRecord

from .launching import shown_program

OBJECTIVE_CHARS_MAX: Final = 200


def worker_request(task: SubmitTaskRequest) -> CreateWorkerRequest:
    """The worker that a task is. Its streams are kept as every worker's are."""
    program = shown_program(task.execution)
    assert program is not None
    kept = task.limits.model_dump(exclude={"stdout_max_bytes", "stderr_max_bytes"})
    return CreateWorkerRequest(
        intent=TaskIntent(objective=program[:OBJECTIVE_CHARS_MAX]),
        worker_id=task.task_id,
        execution=task.execution,
        limits=Limits(**kept),
        sandbox=task.sandbox,
        policy=task.policy,
        control_context=task.control_context,
        metadata=task.metadata,
    )


def terms_of(task: SubmitTaskRequest) -> TaskTerms:
    """What is asked of a task alone."""
    asked, default = task.limits, TaskLimits()
    return TaskTerms(
        stdout_max_bytes=asked.stdout_max_bytes or default.stdout_max_bytes or 1,
        stderr_max_bytes=asked.stderr_max_bytes or default.stderr_max_bytes or 1,
    )


def task_request(record: WorkerRecord) -> SubmitTaskRequest:
    """What was submitted, with every default in its place; the values of the environment are not shown."""
    assert record.task is not None
    assert record.request.execution is not None
    asked = record.request
    return SubmitTaskRequest(
        task_id=record.worker_id,
        execution=record.request.execution.redacted(),
        limits=TaskLimits(**{**asked.limits.model_dump(), **record.task.model_dump()}),
        sandbox=asked.sandbox,
        policy=asked.policy,
        control_context=asked.control_context,
        metadata=asked.metadata,
    )
