"""A worker in the task contract's words.

What is said is read from the worker as it is now (and its files, for the output):
nothing is kept here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import CursorExpired, StoreFault
from watchglass.protocol.events import Event, Json
from watchglass.protocol.execution import Reservation
from watchglass.protocol.frames import decode_event
from watchglass.protocol.lifecycle import ENDED, Phase
from watchglass.protocol.tasks import (
    FINISHED,
    STATUS_OF,
    TaskArtifacts,
    TaskError,
    TaskErrorCode,
    TaskStatus,
    TaskStatusResponse,
    TaskSummary,
)
from watchglass.protocol.workers import WorkerExit
from watchglass.store.base import Record
from watchglass.store.numbering import rfc3339

from . import task_folder as folder
from .task_output import shown_output
from .worker import Worker

LAST_EVENTS: Final = 8
"""Among so many at a journal's end is the `error` of a launch that failed."""

_CODES: Final[Mapping[str, TaskErrorCode]] = {
    "exited": TaskErrorCode.EXIT_NON_ZERO,
    "signalled": TaskErrorCode.EXIT_NON_ZERO,
    "stopped": TaskErrorCode.CANCELLED,
    **{code.value: code for code in TaskErrorCode},
}
"""From the reason of an exit; what is not here was no doing of the task's."""


def status_of(worker: Worker, *, is_final: bool | None = None) -> TaskStatus:
    """Where a task is. It has finished when its end is on record, or when `is_final` says so."""
    life = worker.life
    if life.phase in ENDED and not (life.ended.is_set() if is_final is None else is_final):
        return TaskStatus.ACCEPTED if life.started_us is None else TaskStatus.RUNNING
    return STATUS_OF[life.phase]


def summary_of(worker: Worker) -> TaskSummary:
    """A task as a list shows it."""
    life = worker.life
    status = status_of(worker)
    ended = life.exit if status in FINISHED else None
    return TaskSummary(
        task_id=worker.worker_id,
        handle_id=worker.worker_id,
        status=status,
        created_at=rfc3339(worker.record.created_us),
        updated_at=_updated_at(worker),
        started_at=_time(life.started_us),
        finished_at=_time(life.finished_us) if ended is not None else None,
        exit_code=None if ended is None else ended.code,
        exit_signal=None if ended is None else ended.signal,
        metadata=worker.record.request.metadata,
    )


async def answer_of(
    worker: Worker, directory: Path, reservation: Reservation | None, *, is_final: bool | None = None
) -> TaskStatusResponse:
    """A task, whole; `reservation` is what it holds, or held. Raises StoreIo."""
    assert worker.record.task is not None
    terms, life, request = worker.record.task, worker.life, worker.record.request
    status = status_of(worker, is_final=is_final)
    ended = life.exit if status in FINISHED else None
    stdout = await shown_output(directory, "stdout", terms.stdout_max_bytes)
    stderr = await shown_output(directory, "stderr", terms.stderr_max_bytes)
    return TaskStatusResponse(
        task_id=worker.worker_id,
        handle_id=worker.worker_id,
        status=status,
        created_at=rfc3339(worker.record.created_us),
        updated_at=_updated_at(worker),
        started_at=_time(life.started_us),
        finished_at=_time(life.finished_us) if ended is not None else None,
        duration_ms=duration_ms(worker) if ended is not None else None,
        shim_pid=life.supervisor_pid,
        pid=life.pid,
        pgid=life.pid,  # The supervisor makes it the leader of a session of its own.
        exit_code=None if ended is None else ended.code,
        exit_signal=None if ended is None else ended.signal,
        stdout=stdout.text,
        stderr=stderr.text,
        stdout_truncated=stdout.truncated,
        stderr_truncated=stderr.truncated,
        error=None if ended is None else await _error(worker, ended),
        usage=life.usage if ended is not None else None,
        execution_plan=worker.record.plan,
        reservation=reservation,
        artifacts=_artifacts(worker, directory),
        metadata=request.metadata,
    )


def duration_ms(worker: Worker) -> int | None:
    """How long an ended task ran; None when it never did, or nobody saw it."""
    life = worker.life
    if life.usage is not None:
        return life.usage.duration_ms
    if life.started_us is None or life.finished_us is None:
        return None
    return max(0, life.finished_us - life.started_us) // 1000


def error_code(phase: Phase, ended: WorkerExit) -> TaskErrorCode | None:
    """Why an end is no success; None: it is one."""
    if phase is Phase.SUCCEEDED:
        return None
    if STATUS_OF[phase] is TaskStatus.CANCELLED:
        return TaskErrorCode.CANCELLED
    return _CODES.get(ended.reason, TaskErrorCode.INTERNAL)


async def _error(worker: Worker, ended: WorkerExit) -> TaskError | None:
    code = error_code(worker.life.phase, ended)
    if code is None:
        return None
    message = _said(worker, code, ended)
    if message is None:
        told = await _told(worker)
        message = str(told.get("message", f"the task ended: {ended.reason}"))
    details = {"reason": ended.reason, "exit_code": ended.code, "exit_signal": ended.signal}
    return TaskError(
        code=code,
        message=message,
        details={name: value for name, value in details.items() if value is not None},
    )


def _said(worker: Worker, code: TaskErrorCode, ended: WorkerExit) -> str | None:
    """In a sentence what the exit tells by itself."""
    limits, memory_bytes = worker.record.request.limits, _memory_bound(worker)
    if code is TaskErrorCode.EXIT_NON_ZERO:
        return (
            f"the task ended with exit code {ended.code}"
            if ended.signal is None
            else f"the task was ended by signal {ended.signal}"
        )
    sentences = {
        TaskErrorCode.TIMEOUT: f"the task was not over after its wall time of {limits.wall_time_ms} ms",
        TaskErrorCode.CANCELLED: "the task was killed on request",
        TaskErrorCode.MEMORY_LIMIT_EXCEEDED: "the kernel killed a process of the task for want of memory"
        if memory_bytes is None
        else f"the task used more than {memory_bytes} bytes of memory",
        TaskErrorCode.CPU_LIMIT_EXCEEDED: f"the task used more than {limits.cpu_time_sec} s of CPU time",
        TaskErrorCode.RESOURCE_LIMIT_EXCEEDED: "the task passed one of its limits",
    }
    if ended.reason == "lost":
        return "nobody saw how the task ended: its supervisor was killed"
    return sentences.get(code)


def _memory_bound(worker: Worker) -> int | None:
    """What it was held to: its limit, or the default of its runtime."""
    plan = worker.record.plan
    return None if plan is None else plan.resource_enforcement.memory_bytes


async def _told(worker: Worker) -> Json:
    """The data of the `error` near the journal's end; empty without one."""
    log = worker.log
    try:
        last = await log.read(after=Seq(max(log.trimmed_through, log.head - LAST_EVENTS)))
    except (StoreFault, CursorExpired):  # Then the reason must do.
        return {}
    errors = (event.data for event in map(_event, reversed(last)) if event.name == "error")
    return next(errors, {})


def _event(record: Record) -> Event:
    return decode_event(record.line)


def _artifacts(worker: Worker, directory: Path) -> TaskArtifacts:
    execution = worker.record.request.execution
    assert execution is not None
    base = str(directory)  # Joined as text: paths of pathlib are a tenth of an answer's cost.
    return TaskArtifacts(
        task_dir=base,
        request_path=f"{base}/{folder.REQUEST}",
        result_path=f"{base}/{folder.RESULT}",
        stdout_path=f"{base}/stdout.log",
        stderr_path=f"{base}/stderr.log",
        script_path=f"{base}/script" if execution.kind == "script" else None,
    )


def _updated_at(worker: Worker) -> str:
    """When its status changed last."""
    life = worker.life
    return rfc3339(life.finished_us or life.started_us or worker.record.created_us)


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else rfc3339(time_us)
