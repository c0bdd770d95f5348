"""Who may start now: waiting → reserved → started. Decides only.

A starter is a plain callable, called once, when the ledger holds the worker's
room. A worker waits in the line of its tenant (those without a tenant share
one), and only the head of a line is ever looked at:

* In a line: first come, first served. Nobody overtakes within a tenant.
* Among lines: round robin. The line that was served goes behind all others;
  one that could not be served keeps its turn.
* A head that its tenant's quota keeps back is passed over. It costs nobody
  anything: only its own tenant's workers can make room for it.
* A head that the capacity keeps back is passed over as well, `PASSES_MAX`
  times. Then it is *due*: nobody else is started before it, so that what is
  released gathers for it. Of several the one that was due first comes first.

So nobody starves. Let S workers hold something and T lines wait when a worker
is at the head of its line and its quota has room for it (which no one can take
from it then). At most PASSES_MAX + T - 1 others are started before it: those that
pass it, and one of each other line, which had its turn first or was due first.
A release that is followed by no start leaves one holder less, and without any
holder it fits; so it starts after at most S + PASSES_MAX + T - 1 releases. Who
stands behind it in the line is the head then.

What asks for more than there is in all (the capacity was lowered while the
worker waited) is set aside: it never starts, and nobody waits for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from watchglass.protocol.errors import InsufficientResources, ResourceLimitExceeded
from watchglass.protocol.execution import Reservation
from watchglass.protocol.identity import WorkerId

from .ledger import Ledger, Shortage, Tenant, summed

PASSES_MAX: Final = 8
"""How often a head that the capacity keeps back is passed by before nobody passes it any more."""

ONE_SLOT: Final = Reservation(task_slots=1)


@dataclass(slots=True)
class Waiting:
    """One who waits; `passed` counts starts of others for which its room was too small."""

    asked: Reservation
    tenant: Tenant
    start: Callable[[], None]
    passed: int = 0


class Place(NamedTuple):
    """Where a worker waits, and what keeps it there.

    `before_it` wait before it in its line; `tenants_before_it` have their turn
    first. `due` is the worker that all others wait for, maybe this one.
    `shortage` is what it lacks itself; None: it only waits for its turn.
    `is_impossible`: it asks for more than there is in all.
    """

    asked: Reservation
    tenant: Tenant
    before_it: int
    tenants_before_it: list[Tenant]
    due: WorkerId | None
    shortage: Shortage | None
    is_impossible: bool


class _Promise(NamedTuple):
    asked: Reservation
    tenant: Tenant
    waits: bool


class Dispatcher:
    """A bounded queue in front of the ledger."""

    def __init__(self, ledger: Ledger, waiting_max: int) -> None:
        self._ledger = ledger
        self._waiting_max = waiting_max
        self._lines: OrderedDict[Tenant, OrderedDict[WorkerId, Waiting]] = OrderedDict()  # By turn.
        self._tenant_of: dict[WorkerId, Tenant] = {}
        self._due: OrderedDict[WorkerId, Tenant] = OrderedDict()
        self._impossible: dict[WorkerId, Waiting] = {}
        self._held: dict[WorkerId, _Promise] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._tenant_of) + len(self._impossible)

    def __iter__(self) -> Iterator[Waiting]:
        for line in self._lines.values():
            yield from line.values()
        yield from self._impossible.values()

    def hold(self, worker_id: WorkerId, asked: Reservation = ONE_SLOT, tenant: Tenant = None) -> None:
        """Keep a place for a worker that is being created, until it is admitted or let go.

        Raises:
            InsufficientResources: It could never start.
            ResourceLimitExceeded: It would have to wait, and the queue is full.
        """
        self._ledger.check(asked, tenant)
        waits = not self.has_room(asked, tenant)
        if waits and len(self) + sum(held.waits for held in self._held.values()) >= self._waiting_max:
            raise ResourceLimitExceeded("workers waiting for room", self._waiting_max)
        self._held[worker_id] = _Promise(asked, tenant, waits)

    def let_go(self, worker_id: WorkerId) -> None:
        """The worker will not be admitted: its place is free again."""
        self._held.pop(worker_id, None)

    def admit(
        self,
        worker_id: WorkerId,
        start: Callable[[], None],
        asked: Reservation = ONE_SLOT,
        tenant: Tenant = None,
    ) -> None:
        """Start a worker now, or when its turn comes."""
        self._held.pop(worker_id, None)
        waiting = Waiting(asked, tenant, start)
        try:
            self._ledger.check(asked, tenant)
        except InsufficientResources:
            self._impossible[worker_id] = waiting
            return
        self._lines.setdefault(tenant, OrderedDict())[worker_id] = waiting
        self._tenant_of[worker_id] = tenant
        self._dispatch()

    def restore(self, worker_id: WorkerId, held: Reservation = ONE_SLOT, tenant: Tenant = None) -> None:
        """A worker that was launched before we were there holds its room, also above the capacity."""
        self._ledger.restore(worker_id, held, tenant)

    def withdraw(self, worker_id: WorkerId) -> bool:
        """Take a worker out of the queue; False when it is not in it."""
        if worker_id not in self._tenant_of:
            return self._impossible.pop(worker_id, None) is not None
        self._take(worker_id)
        self._dispatch()  # Who stood behind it may need less.
        return True

    def release(self, worker_id: WorkerId) -> None:
        """A worker's process tree is empty: give its room to the next."""
        self._ledger.release(worker_id)
        self._dispatch()

    def close(self) -> None:
        """Start nobody any more: who waits goes on waiting until it is withdrawn."""
        self._is_closed = True

    def waiting_by(self, tenant: Tenant) -> int:
        """How many of a tenant wait."""
        impossible = sum(waiting.tenant == tenant for waiting in self._impossible.values())
        return len(self._lines.get(tenant, ())) + impossible

    @property
    def waiting(self) -> Reservation:
        """What all of those who wait ask for, together."""
        return self._ledger.shown(summed(waiting.asked for waiting in self))

    def place(self, worker_id: WorkerId) -> Place | None:
        """Where a worker waits; None when it does not wait."""
        if worker_id in self._impossible:
            aside = self._impossible[worker_id]
            return Place(aside.asked, aside.tenant, 0, [], None, self._shortage(aside), is_impossible=True)
        if worker_id not in self._tenant_of:
            return None
        tenant = self._tenant_of[worker_id]
        line, turns = self._lines[tenant], list(self._lines)
        return Place(
            asked=line[worker_id].asked,
            tenant=tenant,
            before_it=list(line).index(worker_id),
            tenants_before_it=turns[: turns.index(tenant)],
            due=next(iter(self._due), None),
            shortage=self._shortage(line[worker_id]),
            is_impossible=False,
        )

    def _dispatch(self) -> None:
        while not self._is_closed and (worker_id := self._next()) is not None:
            waiting = self._take(worker_id)
            reserved = self._ledger.try_reserve(worker_id, waiting.asked, waiting.tenant)
            assert reserved, worker_id
            if waiting.tenant in self._lines:
                self._lines.move_to_end(waiting.tenant)
            waiting.start()

    def _next(self) -> WorkerId | None:
        """Who is to be started now; those who are passed by are told so."""
        for worker_id, tenant in self._due.items():
            fits = self._shortage(self._lines[tenant][worker_id]) is None
            return worker_id if fits else None
        passed: list[tuple[WorkerId, Waiting]] = []
        for line in self._lines.values():
            worker_id, head = next(iter(line.items()))
            shortage = self._shortage(head)
            if shortage is None:
                self._pass(passed)
                return worker_id
            if shortage.of == "capacity":
                passed.append((worker_id, head))
        return None

    def _pass(self, heads: list[tuple[WorkerId, Waiting]]) -> None:
        for worker_id, head in heads:
            head.passed += 1
            if head.passed >= PASSES_MAX:
                self._due[worker_id] = head.tenant

    def _take(self, worker_id: WorkerId) -> Waiting:
        tenant = self._tenant_of.pop(worker_id)
        line = self._lines[tenant]
        waiting = line.pop(worker_id)
        if not line:
            del self._lines[tenant]
        self._due.pop(worker_id, None)
        return waiting

    def _shortage(self, waiting: Waiting) -> Shortage | None:
        return self._ledger.shortage(waiting.asked, waiting.tenant)

    def has_room(self, asked: Reservation, tenant: Tenant) -> bool:
        """Whether it would start now, beside those that are held and would; so ask before its own `hold`."""
        promised = [held for held in self._held.values() if not held.waits]
        shortage = self._ledger.shortage(
            asked,
            tenant,
            promised=summed(held.asked for held in promised),
            promised_to_tenant=summed(held.asked for held in promised if held.tenant == tenant),
        )
        return shortage is None and not self._due and tenant not in self._lines
