"""What a runtime says of its host, and of a worker before there is one."""

from __future__ import annotations

from .base import Wire
from .execution import ExecutionPlan, Reservation
from .identity import RuntimeId


class Capability(Wire):
    """One thing that a host can do by `mechanism`, or cannot.

    Of what it cannot do, `reason` says why; of what it can, what is weak about it.
    """

    available: bool
    mechanism: str | None
    reason: str | None


class Capabilities(Wire):
    """All of it, as it was found at `collected_at` by doing it."""

    runtime_id: RuntimeId
    collected_at: str
    kernel: str
    sandbox: dict[str, Capability]
    namespaces: dict[str, Capability]
    limits: dict[str, Capability]
    memory_capacity_bytes: int | None
    pids_capacity: int | None


class CapabilitiesAnswer(Wire):
    """`{"capabilities": …}`"""

    capabilities: Capabilities


class PlanAnswer(Wire):
    """What a creation would come to now. Nothing was started, and nothing written.

    Both are null for a worker without an execution: it takes no room. `before_it`
    counts those that wait already.
    """

    plan: ExecutionPlan | None
    reservation: Reservation | None
    would_wait: bool
    before_it: int
