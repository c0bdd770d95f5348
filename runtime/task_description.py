"""What the runtime says of itself in the task contract's words: capabilities, configuration, resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Protocol

from watchglass import __version__
from watchglass.protocol.errors import StoreFault
from watchglass.protocol.execution import Namespaces, Reservation
from watchglass.protocol.identity import RuntimeId
from watchglass.protocol.runtime import ActiveReservation, RuntimeResources, TenantResources
from watchglass.protocol.task_runtime import (
    Platform,
    TaskReservation,
    TaskResourceCapabilities,
    TaskRuntimeCapabilities,
    TaskRuntimeConfig,
    TaskRuntimeInfo,
    TaskRuntimeResources,
    TaskSandboxCapabilities,
    TaskStorageCapabilities,
    TaskTenant,
)
from watchglass.protocol.tasks import STATUS_OF
from watchglass.store.base import Store
from watchglass.store.numbering import rfc3339

from .capabilities import Found, HostCapabilities
from .host_platform import this_platform
from .options import HOST, RuntimeOptions

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
CGROUP_ROOT: Final = "/sys/fs/cgroup"
"""Where control groups are on Linux (cgroups(7))."""
_WANTED: Final = frozenset({"linux_sandbox", "memory", "pids", "cgroup_writable"})
"""A host without one of these cannot hold a task to what the contract lets one ask for."""


class Described(Protocol):
    """What a description needs of its runtime."""

    options: RuntimeOptions
    runtime_id: RuntimeId
    started_us: int

    @property
    def capabilities(self) -> HostCapabilities:
        """What its host can do, as of now."""

    def resources(self) -> RuntimeResources:
        """Who holds which part of the capacity, as of now."""


@dataclass(frozen=True, slots=True)
class Description:
    """Answers about one runtime, which is asked anew each time."""

    runtime: Described
    store: Store
    platform: Platform = field(default_factory=this_platform)

    def info(self) -> TaskRuntimeInfo:
        """Who answers."""
        return TaskRuntimeInfo(
            runtime_id=self.runtime.runtime_id,
            version=__version__,
            started_at=rfc3339(self.runtime.started_us),
            platform=self.platform,
        )

    async def capabilities(self) -> TaskRuntimeCapabilities:
        """What the probes found, and whether the store takes writes now."""
        try:
            await self.store.check()
            is_writable = True
        except StoreFault:
            is_writable = False
        return capabilities_answer(
            self.runtime.runtime_id,
            self.runtime.capabilities,
            self.platform,
            self.runtime.resources().capacity,
            is_writable=is_writable,
            overrides=overrides_of(self.runtime.options),
        )

    def config(self, listen_addr: str) -> TaskRuntimeConfig:
        """How it is set; the bounds are those of all workers, for tasks have none of their own."""
        return TaskRuntimeConfig(
            runtime_id=self.runtime.runtime_id,
            listen_addr=listen_addr,
            data_dir=str(self.store.path),
            max_running_tasks=self.runtime.options.running_workers_max,
            max_queued_tasks=self.runtime.options.waiting_workers_max,
            termination_grace_ms=self.runtime.options.grace_ms,
            result_retention_secs=self.runtime.options.task_retention_s,
            gc_interval_ms=self.runtime.options.gc_interval_ms,
            cgroup_root=self._cgroup_root(),
            default_capability_mode=self.runtime.options.capability_mode,
            cgroup_enabled=self.runtime.options.cgroup_enabled,
        )

    def resources(self) -> TaskRuntimeResources:
        """The ledger; workers that are no tasks hold their part of it, and wait in the same queue."""
        said = self.runtime.resources()
        return TaskRuntimeResources(
            runtime_id=self.runtime.runtime_id,
            capacity=said.capacity,
            reserved=said.reserved,
            available=said.available,
            active_reservations=[_held(each) for each in said.active_reservations],
            accepted_waiting_tasks=said.waiting_worker_count,
            tenants=[_tenant(each) for each in said.tenants],
        )

    def _cgroup_root(self) -> str:
        """As it was given; else the first of the groups below which those of workers are made."""
        if self.runtime.options.cgroup_root is not None:
            return str(self.runtime.options.cgroup_root)
        cgroup = self.runtime.capabilities.limits.cgroup
        return CGROUP_ROOT if cgroup is None else str(Path(cgroup.folders[0].path).parent)


def overrides_of(options: RuntimeOptions) -> dict[str, str]:
    """What the operator set in the place of what probes would find, by what it is about."""
    chosen = {
        "cgroup": None if options.cgroup_enabled else "disabled",
        "cgroup_root": options.cgroup_root,
        "capacity_memory_bytes": options.capacity_memory_bytes,
        "capacity_pids": options.capacity_pids,
    }
    return {name: str(value) for name, value in chosen.items() if value not in {None, HOST}}


def capabilities_answer(
    runtime_id: str,
    host: HostCapabilities,
    platform: Platform,
    capacity: Reservation,
    *,
    is_writable: bool,
    overrides: Mapping[str, str],
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
        overrides=dict(overrides),
    )


def _held(each: ActiveReservation) -> TaskReservation:
    return TaskReservation(
        task_id=each.worker_id,
        status=STATUS_OF[each.phase],
        reservation=each.reservation,
        reserved_at=each.reserved_at,
    )


def _tenant(each: TenantResources) -> TaskTenant:
    return TaskTenant(tenant=each.tenant, quota=each.quota, reserved=each.reserved, available=each.available)


def _named(host: HostCapabilities) -> Iterator[tuple[str, Found]]:
    for part in (host.sandbox, host.limits):
        for each in fields(part):
            value = getattr(part, each.name)
            if isinstance(value, Found):
                yield each.name, value
    for name, found in host.sandbox.namespaces.items():
        yield f"namespace.{name}", found
