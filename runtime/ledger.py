"""Who holds which part of the capacity.

A reservation is made before a worker starts and released when its process
tree is empty. At any moment `reserved` equals the sum of the active
reservations, in all and for each tenant; a reservation and a release cost the
same however many there are.

Three resources: `task_slots`, `memory_bytes`, `pids`. Slots are always
accounted. Memory and pids are accounted for a worker when the capacity or the
quota of its tenant bounds them; then it reserves its limit or the default,
never nothing. A resource that is not accounted is None in every answer.

What is restored (`restore`) runs already, so it may pass a bound that was
lowered meanwhile; nothing new starts until there is room again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from watchglass.protocol.errors import InsufficientResources
from watchglass.protocol.execution import Limits, Reservation
from watchglass.protocol.identity import WorkerId

Tenant = str | None
"""None: those without one. They share no quota, and wait in a line of their own."""

RESOURCES: Final = tuple(Reservation.model_fields)
DEFAULTS: Final = Reservation(task_slots=1, memory_bytes=512 << 20, pids=128)


class Amounts(NamedTuple):
    """So much of each resource, in the order of `RESOURCES`."""

    task_slots: int = 0
    memory_bytes: int = 0
    pids: int = 0

    def plus(self, other: Amounts) -> Amounts:
        """The sum, resource by resource."""
        return Amounts(*(one + more for one, more in zip(self, other, strict=True)))

    def minus(self, other: Amounts) -> Amounts:
        """The difference, resource by resource."""
        return Amounts(*(one - less for one, less in zip(self, other, strict=True)))


NOTHING: Final = Amounts()


def amounts_of(reservation: Reservation) -> Amounts:
    """What is not accounted counts as nothing."""
    return Amounts(reservation.task_slots, reservation.memory_bytes or 0, reservation.pids or 0)


def summed(reservations: Iterable[Reservation]) -> Amounts:
    """All of them together."""
    total = NOTHING
    for reservation in reservations:
        total = total.plus(amounts_of(reservation))
    return total


class Shortage(NamedTuple):
    """The first resource of which there is less than asked, and whose bound that is."""

    resource: str
    asked: int
    available: int
    bound: int
    of: Literal["quota", "capacity"]


@dataclass(frozen=True, slots=True)
class Held:
    """What one worker holds."""

    reservation: Reservation
    tenant: Tenant


class Ledger:
    """Reservations within a capacity and within the quotas of tenants."""

    def __init__(
        self,
        capacity: Reservation,
        *,
        quotas: Mapping[str, Reservation] = MappingProxyType({}),
        defaults: Reservation = DEFAULTS,
    ) -> None:
        """`defaults`: what a worker without a limit reserves of a resource that is accounted."""
        self.capacity = capacity
        self.quotas = dict(quotas)
        self._defaults = defaults
        self._active: dict[WorkerId, Held] = {}
        self._reserved = NOTHING
        self._by_tenant: dict[Tenant, tuple[int, Amounts]] = {}  # How many, and their sum.

    def take_capacity(self, found: Reservation) -> None:
        """Account what nobody configured by what the host was found to have; slots are always configured.

        To be called before the first reservation, for who holds one was not accounted by it.
        """
        assert not self._active, "the capacity is found before anybody starts"
        self.capacity = Reservation(
            task_slots=self.capacity.task_slots,
            memory_bytes=_first(self.capacity.memory_bytes, found.memory_bytes),
            pids=_first(self.capacity.pids, found.pids),
        )

    @property
    def reserved(self) -> Reservation:
        """The sum of the active reservations."""
        return self.shown(self._reserved)

    @property
    def available(self) -> Reservation:
        """What is left of the capacity; None of a resource that the capacity does not bound."""
        return _left(self.capacity, self._reserved)

    @property
    def active(self) -> dict[WorkerId, Reservation]:
        """Who holds what, as a copy."""
        return {worker_id: held.reservation for worker_id, held in self._active.items()}

    def held(self, worker_id: WorkerId) -> Reservation | None:
        """What one worker holds."""
        held = self._active.get(worker_id)
        return None if held is None else held.reservation

    def reserved_by(self, tenant: Tenant) -> Reservation:
        """The sum of the active reservations of one tenant."""
        return self.shown(self._sum_of(tenant))

    def available_to(self, tenant: Tenant) -> Reservation | None:
        """What is left of a tenant's quota; None without one."""
        quota = self._quota(tenant)
        return None if quota is None else _left(quota, self._sum_of(tenant))

    @property
    def tenants(self) -> list[str]:
        """Those with a quota, and those that hold something, in order of their names."""
        return sorted({*self.quotas, *(tenant for tenant in self._by_tenant if tenant is not None)})

    def asked_by(self, limits: Limits, tenant: Tenant) -> Reservation:
        """What a worker with these limits reserves: a limit as it is, a default no larger than its bounds."""
        asked = {"memory_bytes": limits.memory_bytes, "pids": limits.pids_max}
        return Reservation(
            task_slots=self._defaults.task_slots,
            **{resource: self._part(resource, limit, tenant) for resource, limit in asked.items()},
        )

    def check(self, asked: Reservation, tenant: Tenant) -> None:
        """See that a reservation can be made at all, when nobody else holds anything.

        Raises:
            InsufficientResources: It is over the capacity, or over its tenant's quota.
        """
        quota = self._quota(tenant)
        over = _over(asked, quota, NOTHING, "quota") or _over(asked, self.capacity, NOTHING, "capacity")
        if over is not None:
            raise InsufficientResources(
                over.resource, over.asked, over.bound, tenant if over.of == "quota" else None
            )

    def shortage(
        self,
        asked: Reservation,
        tenant: Tenant,
        *,
        promised: Amounts = NOTHING,
        promised_to_tenant: Amounts = NOTHING,
    ) -> Shortage | None:
        """What keeps a reservation from being made now; its tenant's quota is looked at first.

        `promised` counts as if it were reserved, that to the same tenant in its quota too.
        """
        own = self._sum_of(tenant).plus(promised_to_tenant)
        return _over(asked, self._quota(tenant), own, "quota") or _over(
            asked, self.capacity, self._reserved.plus(promised), "capacity"
        )

    def try_reserve(self, worker_id: WorkerId, asked: Reservation, tenant: Tenant = None) -> bool:
        """Hold `asked` for a worker, or change nothing and say False.

        A worker holds one reservation at a time: a second one is our bug.
        """
        assert worker_id not in self._active, worker_id
        if self.shortage(asked, tenant) is not None:
            return False
        self.restore(worker_id, asked, tenant)
        return True

    def restore(self, worker_id: WorkerId, held: Reservation, tenant: Tenant = None) -> None:
        """What a worker holds that runs already; it may pass a bound that was lowered meanwhile."""
        assert worker_id not in self._active, worker_id
        self._active[worker_id] = Held(held, tenant)
        self._reserved = self._reserved.plus(amounts_of(held))
        count, own = self._by_tenant.get(tenant, (0, NOTHING))
        self._by_tenant[tenant] = count + 1, own.plus(amounts_of(held))

    def release(self, worker_id: WorkerId) -> bool:
        """Give back what a worker holds; False when it held nothing."""
        held = self._active.pop(worker_id, None)
        if held is None:
            return False
        self._reserved = self._reserved.minus(amounts_of(held.reservation))
        count, own = self._by_tenant.pop(held.tenant)
        if count > 1:
            self._by_tenant[held.tenant] = count - 1, own.minus(amounts_of(held.reservation))
        return True

    def shown(self, amounts: Amounts) -> Reservation:
        """Amounts as an answer tells them: without what nobody accounts."""
        bounds = [self.capacity, *self.quotas.values()]
        told = {
            resource: amount
            for resource, amount in zip(RESOURCES, amounts, strict=True)
            if amount or any(getattr(bound, resource) is not None for bound in bounds)
        }
        return Reservation(**{"task_slots": 0, **told})

    def _quota(self, tenant: Tenant) -> Reservation | None:
        return None if tenant is None else self.quotas.get(tenant)

    def _sum_of(self, tenant: Tenant) -> Amounts:
        return self._by_tenant.get(tenant, (0, NOTHING))[1]

    def _part(self, resource: str, limit: int | None, tenant: Tenant) -> int | None:
        bounds = list(_bounds(resource, self.capacity, self._quota(tenant)))
        if not bounds:
            return None
        default: int = getattr(self._defaults, resource)
        return min(default, *bounds) if limit is None else limit


def _bounds(resource: str, *reservations: Reservation | None) -> Iterator[int]:
    for reservation in reservations:
        bound = None if reservation is None else getattr(reservation, resource)
        if bound is not None:
            yield bound


def _over(
    asked: Reservation, bounds: Reservation | None, taken: Amounts, of: Literal["quota", "capacity"]
) -> Shortage | None:
    if bounds is None:
        return None
    for resource, amount, used in zip(RESOURCES, amounts_of(asked), taken, strict=True):
        for bound in _bounds(resource, bounds):
            if amount > bound - used:
                return Shortage(resource, amount, max(0, bound - used), bound, of)
    return None


def _left(bounds: Reservation, taken: Amounts) -> Reservation:
    left = {
        resource: max(0, bound - used)
        for resource, used in zip(RESOURCES, taken, strict=True)
        for bound in _bounds(resource, bounds)
    }
    return Reservation(**left)


def _first(configured: int | None, found: int | None) -> int | None:
    return found if configured is None else configured
