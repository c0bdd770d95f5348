"""The ledger, the queue and the catalog in one answer, as of one moment."""

from __future__ import annotations

from watchglass.protocol.identity import RuntimeId
from watchglass.protocol.runtime import ActiveReservation, RuntimeResources, TenantResources

from .catalog import Catalog
from .dispatcher import Dispatcher
from .ledger import Ledger
from .worker import Worker


def resources(
    runtime_id: RuntimeId, catalog: Catalog, ledger: Ledger, dispatcher: Dispatcher
) -> RuntimeResources:
    """Who holds which part of the capacity, and what the others wait for."""
    active = [_active(catalog.get(worker_id).worker) for worker_id in ledger.active]
    return RuntimeResources(
        runtime_id=runtime_id,
        capacity=ledger.capacity,
        reserved=ledger.reserved,
        available=ledger.available,
        active_reservations=sorted(active, key=lambda each: (each.reserved_at or "", each.worker_id)),
        waiting_worker_count=len(dispatcher),
        waiting=dispatcher.waiting,
        tenants=[_tenant(tenant, ledger, dispatcher) for tenant in ledger.tenants],
    )


def _active(worker: Worker) -> ActiveReservation:
    life = worker.life
    assert life.reservation is not None, worker.worker_id
    return ActiveReservation(
        worker_id=worker.worker_id,
        phase=life.phase,
        tenant=worker.tenant,
        reservation=life.reservation,
        reserved_at=worker.reserved_at,
        pid=life.pid,
    )


def _tenant(tenant: str, ledger: Ledger, dispatcher: Dispatcher) -> TenantResources:
    return TenantResources(
        tenant=tenant,
        quota=ledger.quotas.get(tenant),
        reserved=ledger.reserved_by(tenant),
        available=ledger.available_to(tenant),
        waiting_worker_count=dispatcher.waiting_by(tenant),
    )
