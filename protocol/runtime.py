"""What a runtime says of itself (worker runtime contract, "Types")."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import TEXT_CHARS_MAX, Wire
from .execution import Reservation
from .identity import RuntimeId, WorkerId, WorkerRef
from .lifecycle import Phase


class RuntimeLimits(Wire):
    """How much one answer may hold."""

    max_transcript_projection_items: int = Field(default=256, gt=0)
    max_event_batch_items: int = Field(default=256, gt=0)


class RuntimeSummary(Wire):
    """The runtime in one object."""

    runtime_id: RuntimeId
    display_name: str | None
    backend: Literal["memory", "fs_store"]
    status: Literal["running", "stopped"]
    worker_count: int
    active_worker_count: int
    stopped_worker_count: int
    cancelled_worker_count: int
    diagnostic_count: int
    limits: RuntimeLimits
    # ours:
    version: str
    started_at: str
    durability: Literal["none", "os", "fsync"]
    capacity: Reservation
    reserved: Reservation
    waiting_worker_count: int
    observer_count: int
    keep_workers: bool


class ActiveReservation(Wire):
    """What the ledger holds for one worker, and since when; `pid` is that of its program."""

    worker_id: WorkerId
    phase: Phase
    tenant: str | None
    reservation: Reservation
    reserved_at: str | None
    pid: int | None


class TenantResources(Wire):
    """What a tenant may have, what it has, and how many of its workers wait."""

    tenant: str
    quota: Reservation | None
    reserved: Reservation
    available: Reservation | None
    waiting_worker_count: int


class RuntimeResources(Wire):
    """Who holds which part of the capacity; `reserved` is the sum of the active reservations.

    The oldest reservation is the first. A resource that is null is not accounted.
    `waiting` is what all of those who wait ask for, together.
    """

    runtime_id: RuntimeId
    capacity: Reservation
    reserved: Reservation
    available: Reservation
    active_reservations: list[ActiveReservation]
    waiting_worker_count: int
    waiting: Reservation
    tenants: list[TenantResources]


class RuntimeEventKind(StrEnum):
    """What a runtime tells of its workers and of itself."""

    RUNTIME_STARTED = "runtime_started"
    RUNTIME_STOPPED = "runtime_stopped"
    WORKER_CREATED = "worker_created"
    WORKER_INPUT_ACCEPTED = "worker_input_accepted"
    WORKER_STOPPED = "worker_stopped"
    WORKER_CANCELLED = "worker_cancelled"


class RuntimeEvent(Wire):
    """One of them; `id` is its sequence."""

    id: int
    worker_ref: WorkerRef | None = None
    kind: RuntimeEventKind
    message: str


class RuntimeEventCursor(Wire):
    """Where to read on: the first id that may come next."""

    runtime_id: RuntimeId
    next_event_id: int = Field(ge=0)


class RuntimeEventBatch(Wire):
    """A bounded piece of a runtime's events."""

    events: list[RuntimeEvent]
    next_cursor: RuntimeEventCursor
    has_more: bool


class RuntimeDiagnostic(Wire):
    """Something that an operator may want to know."""

    id: int
    severity: Literal["info", "warning", "error"]
    code: str
    message: str
    worker_ref: WorkerRef | None = None


class DrainRequest(Wire):
    """The optional body of a drain."""

    reason: Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX)] | None = None


class RuntimeAnswer(Wire):
    """`{"runtime": …}`"""

    runtime: RuntimeSummary


class ResourcesAnswer(Wire):
    """`{"resources": …}`"""

    resources: RuntimeResources


class DiagnosticsAnswer(Wire):
    """`{"diagnostics": […]}`: the newest ones that are kept."""

    diagnostics: list[RuntimeDiagnostic]


class HealthAnswer(Wire):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class ReadyAnswer(Wire):
    """The runtime takes work: its store was really touched."""

    status: Literal["ready"] = "ready"
    version: str
