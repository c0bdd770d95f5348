"""What the runtime says of itself in the task contract's words: capabilities, configuration, resources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from watchglass.protocol.execution import Namespaces, Reservation
from watchglass.protocol.task_runtime import (
    Platform,
    TaskReservation,
    TaskResourceCapabilities,
    TaskRuntimeCapabilities,
    TaskRuntimeResources,
    TaskSandboxCapabilities,
    TaskStorageCapabilities,
)
from watchglass.runtime.capabilities import Found, HostCapabilities
from watchglass.runtime.catalog import Catalog
from watchglass.runtime.ledger import Ledger
from watchglass.store.numbering import rfc3339

from .answers import status_of

STABLE: Final = (
    "task.submit",
    "task.status",
    "task.kill",
    "task.events",
    "task.files",
    "limits.wall_time",
    "output.inline_bounds",
    "resources.ledger",
    "recovery.after_restart",
)
"""What every runtime of this version does on every host."""
_WANTED: Final = frozenset({"linux_sandbox", "memory", "pids", "cgroup_writable"})
"""A host without one of these cannot hold a task to what the contract lets one ask for."""


def capabilities_answer(
    runtime_id: str, host: HostCapabilities, platform: Platform, capacity: Reservation, *, is_writable: bool
) -> TaskRuntimeCapabilities:
    """What the probes found; what is missing is a warning, in the words of whoever refused it."""
    sandbox, limits = host.sandbox, host.limits
    named = dict(_named(host))
    missing = sorted(name for name, found in named.items() if not found)
    return TaskRuntimeCapabilities(
        runtime_id=runtime_id,
        collected_at=rfc3339(host.collected_at_us),
        platform=platform,
        sandbox=TaskSandboxCapabilities(
            linux_sandbox=bool(sandbox.linux_sandbox),
            chroot=bool(sandbox.rootfs),
            namespaces=Namespaces(
                **{name: bool(sandbox.namespaces.get(name)) for name in Namespaces.model_fields}
            ),
        ),
        storage=TaskStorageCapabilities(data_dir_writable=is_writable),
        resources=TaskResourceCapabilities(
            cgroup_v2=bool(limits.cgroup_v2),
            cgroup_writable=bool(limits.cgroup_writable),
            memory_limit=bool(limits.memory),
            pids_limit=bool(limits.pids),
            oom_detection=bool(limits.oom_detection),
            cpu_quota=bool(limits.cpu_quota),
            capacity=capacity,
        ),
        stable_semantics=list(STABLE),
        enhanced_semantics=sorted(f"{name}: {found.mechanism}" for name, found in named.items() if found),
        warnings=[f"{name}: {named[name].reason}" for name in missing]
        + [f"{name}: {found.reason}" for name, found in named.items() if found and found.reason],
        degraded=not _WANTED.isdisjoint(missing),
    )


def resources_answer(
    runtime_id: str, ledger: Ledger, catalog: Catalog, waiting: Iterator[str]
) -> TaskRuntimeResources:
    """The ledger as it is; workers that are no tasks hold their part of it too. `waiting`: ids in the queue."""
    capacity, reserved = ledger.capacity, ledger.reserved
    return TaskRuntimeResources(
        runtime_id=runtime_id,
        capacity=capacity,
        reserved=reserved,
        available=_left(capacity, reserved),
        active_reservations=list(_active(ledger, catalog)),
        accepted_waiting_tasks=sum(1 for _ in waiting),
        tenants=[],
    )


def _active(ledger: Ledger, catalog: Catalog) -> Iterator[TaskReservation]:
    for worker_id, held in ledger.active.items():
        worker = catalog.get(worker_id).worker
        since_us = worker.life.started_us
        yield TaskReservation(
            task_id=worker_id,
            status=status_of(worker),
            reservation=held,
            reserved_at=None if since_us is None else rfc3339(since_us),
        )


def _left(capacity: Reservation, reserved: Reservation) -> Reservation:
    """What may still be reserved; never below zero, though restored workers may pass a lowered capacity."""
    return Reservation(
        task_slots=max(0, capacity.task_slots - reserved.task_slots),
        memory_bytes=_difference(capacity.memory_bytes, reserved.memory_bytes),
        pids=_difference(capacity.pids, reserved.pids),
    )


def _difference(most: int | None, taken: int | None) -> int | None:
    return None if most is None else max(0, most - (taken or 0))


def _named(host: HostCapabilities) -> Iterator[tuple[str, Found]]:
    for part in (host.sandbox, host.limits):
        for each in fields(part):
            value = getattr(part, each.name)
            if isinstance(value, Found):
                yield each.name, value
    for name, found in host.sandbox.namespaces.items():
        yield f"namespace.{name}", found
