"""Requests about workers and the answers (worker runtime contract, "Types").

Fields below a comment "ours" are additions: they may all be missing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from .base import INPUT_CONTENT_BYTES_MAX, TEXT_CHARS_MAX, Name, SaidText, Text, Wire
from .execution import (
    ControlContext,
    ExecutionPlan,
    ExecutionSpec,
    Limits,
    Metadata,
    Policy,
    Reservation,
    Sandbox,
    Usage,
)
from .identity import RuntimeId, WorkerId, WorkerRef
from .lifecycle import Phase, WorkerStatus


class AssistantIntent(Wire):
    """A worker that helps; the default."""

    kind: Literal["assistant"] = "assistant"
    purpose: Text | None = None


class TaskIntent(Wire):
    """A worker with one thing to do."""

    kind: Literal["task"] = "task"
    objective: SaidText


class RoleIntent(Wire):
    """A worker that plays a part."""

    kind: Literal["role"] = "role"
    role: SaidText
    purpose: Text | None = None


WorkerIntent = Annotated[AssistantIntent | TaskIntent | RoleIntent, Field(discriminator="kind")]


class DefaultProfile(Wire):
    """What the runtime does by itself; the default."""

    kind: Literal["runtime_default"] = "runtime_default"


class BuiltinProfile(Wire):
    """A profile that comes with the runtime."""

    kind: Literal["builtin"] = "builtin"
    value: Name


class NamedProfile(Wire):
    """A profile that somebody defined."""

    kind: Literal["named"] = "named"
    value: Name


ProfileSelector = Annotated[DefaultProfile | BuiltinProfile | NamedProfile, Field(discriminator="kind")]


class ConfigBundle(Wire):
    """A bundle of configuration, by its id."""

    id: Name


class CapabilityRequest(Wire):
    """A capability that the worker would like to have."""

    name: Name
    reason: Text | None = None


class NamedReference(Wire):
    """A workspace or a mount, by name."""

    name: Name
    reference: SaidText


class Face(StrEnum):
    """As what a worker was asked for: that contract shows it too, in its own words."""

    WORKER = "worker"
    TASK = "task"


class Speech(StrEnum):
    """How a process takes input and what its output means."""

    TEXT = "text"
    JSONL = "jsonl"


def _bounded_content(content: str) -> str:
    if not content.strip():
        raise ValueError("must not be blank")
    size_bytes = len(content.encode())
    if size_bytes > INPUT_CONTENT_BYTES_MAX:
        raise ValueError(f"has {size_bytes} bytes, and {INPUT_CONTENT_BYTES_MAX} is the most")
    return content


class WorkerInput(Wire):
    """Something said to a worker."""

    kind: Literal["user", "system"] = "user"
    content: Annotated[str, AfterValidator(_bounded_content)]
    # ours:
    worker_ref: WorkerRef | None = None


class CreateWorkerRequest(Wire):
    """A new worker. Without an `execution` it is passive: a journal that others write."""

    intent: WorkerIntent = Field(default_factory=AssistantIntent)
    profile: ProfileSelector = Field(default_factory=DefaultProfile)
    config_bundle: ConfigBundle | None = None
    requested_capabilities: list[CapabilityRequest] = Field(default_factory=list, max_length=256)
    workspace_refs: list[NamedReference] = Field(default_factory=list, max_length=256)
    mount_refs: list[NamedReference] = Field(default_factory=list, max_length=256)
    # ours:
    worker_id: WorkerId | None = None
    execution: ExecutionSpec | None = None
    limits: Limits = Field(default_factory=Limits)
    sandbox: Sandbox = Field(default_factory=Sandbox)
    policy: Policy = Field(default_factory=Policy)
    control_context: ControlContext = Field(default_factory=ControlContext)
    metadata: Metadata = Field(default_factory=dict)
    speech: Annotated[Speech, Field(strict=False)] = Speech.TEXT
    initial_input: WorkerInput | None = None

    def redacted(self) -> CreateWorkerRequest:
        """The same without the values of its environment."""
        if self.execution is None:
            return self
        return self.model_copy(update={"execution": self.execution.redacted()})


class LifecycleRequest(Wire):
    """The optional body of stop, cancel, interrupt and close-stdin."""

    reason: Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX)] | None = None
    # ours:
    worker_ref: WorkerRef | None = None


class SignalRequest(LifecycleRequest):
    """A signal for the worker's process group, by its name, such as SIGUSR1."""

    signal: Annotated[Name, BeforeValidator(lambda name: name.upper() if isinstance(name, str) else name)]


class WorkerExit(Wire):
    """How a worker ended: its process's code or signal, and the reason.

    Reasons: `exited`, `signalled`, `stopped`, `cancelled`, `timeout`,
    `cpu_limit_exceeded`, `memory_limit_exceeded`, `resource_limit_exceeded`, `lost`,
    `launch_failed`, `sandbox_setup_failed`, `unsupported_capability`, `runtime_stopped`; a passive
    worker ends without a process.
    """

    code: int | None
    signal: int | None
    reason: str


class WorkerSummary(Wire):
    """A worker as a list shows it."""

    worker_ref: WorkerRef
    runtime_id: RuntimeId
    worker_id: WorkerId
    status: WorkerStatus
    intent: WorkerIntent
    profile: ProfileSelector
    requested_capability_count: int
    has_config_bundle: bool
    transcript_len: int
    last_event_id: str
    # ours:
    phase: Phase
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    exit: WorkerExit | None = None
    head: str
    oldest: str
    metadata: Metadata = Field(default_factory=dict)
    program: str | None = None
    face: Face = Face.WORKER
    tenant: str | None = None
    reservation: Reservation | None = None


class WorkerDetail(Wire):
    """A worker, whole. The values of its environment are never shown."""

    worker_ref: WorkerRef
    runtime_id: RuntimeId
    worker_id: WorkerId
    status: WorkerStatus
    intent: WorkerIntent
    profile: ProfileSelector
    config_bundle: ConfigBundle | None = None
    requested_capabilities: list[CapabilityRequest]
    workspace_refs: list[NamedReference]
    mount_refs: list[NamedReference]
    transcript_len: int
    last_event_id: str
    # ours:
    phase: Phase
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    exit: WorkerExit | None = None
    head: str
    oldest: str
    metadata: Metadata = Field(default_factory=dict)
    speech: Speech = Speech.TEXT
    execution: ExecutionSpec | None = None
    limits: Limits
    control_context: ControlContext
    execution_plan: ExecutionPlan | None = None
    usage: Usage | None = None
    pid: int | None = None
    reservation: Reservation | None = None
    reserved_at: str | None = None
    input_backlog_bytes: int = 0
    face: Face = Face.WORKER


class WorkerInteractionAck(Wire):
    """The input is in the journal and on its way."""

    worker_ref: WorkerRef
    status: WorkerStatus
    transcript_sequence: int
    event_id: str


class WorkerLifecycleAck(Wire):
    """What the worker is now, and its last event."""

    worker_ref: WorkerRef
    status: WorkerStatus
    event_id: str
    # ours:
    phase: Phase


class TranscriptEntry(Wire):
    """One thing said, by one side. `sequence` counts from 1."""

    sequence: int
    worker_ref: WorkerRef
    role: Literal["user", "system", "assistant", "tool"]
    content: str
    event_id: str


class TranscriptProjection(Wire):
    """A window of a transcript; at its end, what the worker is saying and has not finished."""

    worker_ref: WorkerRef
    start: int
    limit: int
    total_items: int
    items: list[TranscriptEntry]
    next_start: int | None
    # ours:
    in_flight: str | None = None


class Shortage(Wire):
    """The resource of which there is too little now: in the tenant's quota, or in the capacity."""

    resource: Literal["task_slots", "memory_bytes", "pids"]
    asked: int
    available: int
    bound: int
    of: Literal["quota", "capacity"]


class WaitingFor(Wire):
    """What a worker waits for, in numbers.

    `before_it` workers wait before it in the line of its tenant, and the lines of
    `tenants_before_it` have their turn first (null: those without a tenant).
    `short_of` is null for one that only waits for its turn. While a worker is
    `due`, all others wait for it. An `impossible` one asks for more than there is
    in all, so it waits for another configuration.
    """

    asked: Reservation
    reserved: Reservation
    capacity: Reservation
    available: Reservation
    tenant: str | None
    quota: Reservation | None
    quota_available: Reservation | None
    before_it: int
    tenants_before_it: list[str | None]
    due: WorkerId | None
    short_of: Shortage | None
    impossible: bool


class WorkerExplanation(Wire):
    """Why a worker is where it is, in words and numbers.

    `store_fault` is what keeps the store from taking its newest events, such as a
    full disk: nobody has seen them yet, none of them is lost, and they are told
    when there is room again.
    """

    worker_ref: WorkerRef
    phase: Phase
    summary: str
    waiting_for: WaitingFor | None = None
    store_fault: str | None = None


class WorkerAnswer(Wire):
    """`{"worker": …}`"""

    worker: WorkerDetail


class LeftOut(Wire):
    """Something of a workspace that an archive does not have, or that was not restored from it."""

    name: str
    reason: str


class ImportAnswer(WorkerAnswer):
    """`{"worker": …}` of an import; `left_out` has the first of what of its workspace is not there."""

    left_out: list[LeftOut]
    left_out_count: int


class WorkersAnswer(Wire):
    """`{"workers": […]}`; `next_after` (ours) continues a page, null at the end."""

    workers: list[WorkerSummary]
    next_after: str | None = None


class InteractionAnswer(Wire):
    """`{"ack": …}` of an input."""

    ack: WorkerInteractionAck


class LifecycleAnswer(Wire):
    """`{"ack": …}` of a stop, cancel, interrupt, signal or close-stdin."""

    ack: WorkerLifecycleAck


class TranscriptAnswer(Wire):
    """`{"transcript": …}`"""

    transcript: TranscriptProjection


class ExplanationAnswer(Wire):
    """`{"explanation": …}`"""

    explanation: WorkerExplanation
