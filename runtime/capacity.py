"""What a runtime may give away: as its options say, or as its host was found to have."""

from __future__ import annotations

from watchglass.protocol.execution import Reservation

from .capabilities import LimitCapabilities
from .ledger import Ledger
from .options import HOST, Capacity, RuntimeOptions


def ledger_of(options: RuntimeOptions) -> Ledger:
    """An empty ledger; what the host is to tell is accounted when `host_capacity` has been taken."""
    return Ledger(
        Reservation(
            task_slots=options.running_workers_max,
            memory_bytes=_number(options.capacity_memory_bytes),
            pids=_number(options.capacity_pids),
        ),
        quotas=options.tenants,
        defaults=Reservation(
            task_slots=1, memory_bytes=options.default_memory_bytes, pids=options.default_pids
        ),
    )


def host_capacity(options: RuntimeOptions, found: LimitCapabilities) -> Reservation:
    """What the host has of each resource for which that was asked; None of the others."""
    return Reservation(
        task_slots=options.running_workers_max,
        memory_bytes=found.memory_capacity_bytes if options.capacity_memory_bytes == HOST else None,
        pids=found.pids_capacity if options.capacity_pids == HOST else None,
    )


def _number(capacity: Capacity) -> int | None:
    return capacity if isinstance(capacity, int) else None
