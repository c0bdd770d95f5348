"""What a runtime says of itself in the task contract's words ("Requests", `/runtime/…`)."""

from __future__ import annotations

from pydantic import Field

from .base import Wire
from .execution import CapabilityMode, Namespaces, Reservation
from .identity import RuntimeId
from .tasks import TaskId, TaskStatus

SNAPSHOT_VERSION = "v1"
"""Of the shape of a capability snapshot; a text, as clients of the contract read it."""


class Platform(Wire):
    """The machine: `containerized` and `kubernetes` as the files and variables of this process tell."""

    os: str
    arch: str
    containerized: bool
    kubernetes: bool


class TaskRuntimeInfo(Wire):
    """Who answers."""

    runtime_id: RuntimeId
    version: str
    started_at: str
    snapshot_version: str = SNAPSHOT_VERSION
    platform: Platform


class TaskExecutionCapabilities(Wire):
    """Which kinds of execution there are."""

    command: bool = True
    script: bool = True
    process_group: bool = True


class TaskSandboxCapabilities(Wire):
    """Which isolation was found to work; `namespaces` one by one."""

    process: bool = True
    linux_sandbox: bool
    chroot: bool
    namespaces: Namespaces


class TaskStorageCapabilities(Wire):
    """Whether the store takes writes: it was written to."""

    data_dir_writable: bool


class TaskResourceCapabilities(Wire):
    """Which budgets can be held, and how much there is."""

    rlimit_cpu: bool = True
    rlimit_memory: bool = True
    cgroup_v2: bool
    cgroup_writable: bool
    memory_limit: bool
    pids_limit: bool
    oom_detection: bool
    cpu_quota: bool
    ledger: bool = True
    capacity: Reservation


class TaskRuntimeCapabilities(Wire):
    """What this host can do for a task, as found by doing it once at the start.

    `overrides` has what its operator set in the place of what was found.
    """

    runtime_id: RuntimeId
    snapshot_version: str = SNAPSHOT_VERSION
    collected_at: str
    platform: Platform
    execution: TaskExecutionCapabilities = Field(default_factory=TaskExecutionCapabilities)
    sandbox: TaskSandboxCapabilities
    storage: TaskStorageCapabilities
    resources: TaskResourceCapabilities
    stable_semantics: list[str]
    enhanced_semantics: list[str]
    warnings: list[str]
    degraded: bool
    overrides: dict[str, str] = Field(default_factory=dict)


class TaskRuntimeConfig(Wire):
    """How this runtime is set; nothing secret. A `dispatch_poll_interval_ms` of 0: nothing is polled.

    `cgroup_root` is the group below which those of workers are made: as it was given, else as
    it was found; where none can be, the place where they would be. `cgroup_enabled` says whether
    any are to be made.
    """

    runtime_id: RuntimeId
    listen_addr: str
    data_dir: str
    max_running_tasks: int
    max_queued_tasks: int
    termination_grace_ms: int
    result_retention_secs: int
    gc_interval_ms: int
    dispatch_poll_interval_ms: int = 0
    cgroup_root: str
    default_capability_mode: CapabilityMode
    cgroup_enabled: bool


class TaskReservation(Wire):
    """What one task holds now; other workers of the same runtime hold theirs beside it."""

    task_id: TaskId
    status: TaskStatus
    reservation: Reservation
    reserved_at: str | None = None


class TaskTenant(Wire):
    """What one tenant may hold, holds, and may still take."""

    tenant: str
    quota: Reservation | None = None
    reserved: Reservation
    available: Reservation | None = None


class TaskRuntimeResources(Wire):
    """The ledger. `reserved` is the sum of `active_reservations`."""

    runtime_id: RuntimeId
    capacity: Reservation
    reserved: Reservation
    available: Reservation
    active_reservations: list[TaskReservation]
    accepted_waiting_tasks: int
    tenants: list[TaskTenant]
