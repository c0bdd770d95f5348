"""Turns among tenants, in front of a ledger that is never over its capacity; nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import InsufficientResources, ResourceLimitExceeded
from watchglass.protocol.execution import Reservation
from watchglass.runtime.dispatcher import ONE_SLOT, PASSES_MAX, Dispatcher
from watchglass.runtime.ledger import Ledger, Tenant, amounts_of, summed


class Starts:
    """Who was started, in which order."""

    def __init__(
        self,
        slots: int,
        waiting_max: int = 100,
        *,
        memory_bytes: int | None = None,
        quotas: Mapping[str, Reservation] = MappingProxyType({}),
    ) -> None:
        capacity = Reservation(task_slots=slots, memory_bytes=memory_bytes)
        self.ledger = Ledger(capacity, quotas=quotas)
        self.dispatcher = Dispatcher(self.ledger, waiting_max)
        self.started: list[str] = []

    def admit(self, *worker_ids: str, tenant: Tenant = None, memory_bytes: int | None = None) -> None:
        asked = Reservation(task_slots=1, memory_bytes=memory_bytes)
        for worker_id in worker_ids:
            self.dispatcher.admit(worker_id, self._starter(worker_id), asked, tenant)

    def release(self, *worker_ids: str) -> None:
        for worker_id in worker_ids:
            self.dispatcher.release(worker_id)

    def before(self, worker_id: str) -> int | None:
        place = self.dispatcher.place(worker_id)
        return None if place is None else place.before_it

    def _starter(self, worker_id: str) -> Callable[[], None]:
        return lambda: self.started.append(worker_id)


def test_a_worker_starts_at_once_when_there_is_room() -> None:
    starts = Starts(slots=2)
    starts.admit("a", "b", "c")
    assert starts.started == ["a", "b"]
    assert len(starts.dispatcher) == 1


def test_freed_room_goes_to_who_has_waited_longest() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b", "c")
    starts.release("a")
    assert starts.started == ["a", "b"]
    starts.release("b")
    assert starts.started == ["a", "b", "c"]


def test_a_release_of_nothing_starts_nobody() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b")
    starts.release("b", "nobody")
    assert starts.started == ["a"]


def test_a_worker_knows_how_many_wait_before_it() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b", "c")
    assert [starts.before(worker_id) for worker_id in ("a", "b", "c", "d")] == [None, 0, 1, None]


def test_a_withdrawn_worker_is_never_started() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b", "c")
    assert starts.dispatcher.withdraw("b")
    assert not starts.dispatcher.withdraw("b")
    assert not starts.dispatcher.withdraw("a")
    starts.release("a")
    assert starts.started == ["a", "c"]


def test_a_full_queue_refuses_before_anything_is_kept_and_names_its_bound() -> None:
    starts = Starts(slots=1, waiting_max=2)
    for worker_id in ("a", "b", "c"):
        starts.dispatcher.hold(worker_id)
        starts.admit(worker_id)
    with pytest.raises(ResourceLimitExceeded, match="there are 2 workers waiting for room already"):
        starts.dispatcher.hold("d")
    starts.release("a")
    starts.dispatcher.hold("d")


def test_places_are_held_for_workers_that_are_being_created() -> None:
    starts = Starts(slots=1, waiting_max=1)
    starts.dispatcher.hold("a")
    starts.dispatcher.hold("b")
    with pytest.raises(ResourceLimitExceeded):
        starts.dispatcher.hold("c")
    starts.dispatcher.let_go("a")
    starts.dispatcher.hold("c")
    starts.admit("c", "b")
    assert starts.started == ["c"]


def test_no_queue_at_all_means_a_slot_or_a_refusal() -> None:
    starts = Starts(slots=1, waiting_max=0)
    starts.dispatcher.hold("a")
    starts.admit("a")
    with pytest.raises(ResourceLimitExceeded):
        starts.dispatcher.hold("b")


def test_who_lacks_memory_needs_a_place_in_the_queue_though_slots_are_free() -> None:
    starts = Starts(slots=9, waiting_max=1, memory_bytes=10)
    for worker_id in ("a", "b"):
        starts.dispatcher.hold(worker_id, Reservation(task_slots=1, memory_bytes=6))
    with pytest.raises(ResourceLimitExceeded):
        starts.dispatcher.hold("c", Reservation(task_slots=1, memory_bytes=5))
    starts.dispatcher.hold("d", Reservation(task_slots=1, memory_bytes=4))  # Beside the first.


def test_whether_one_would_start_now_is_known_beforehand() -> None:
    starts = Starts(slots=2, quotas={"blue": ONE_SLOT})
    starts.admit("a", tenant="blue")
    assert [starts.dispatcher.has_room(ONE_SLOT, tenant) for tenant in ("blue", None)] == [False, True]
    starts.dispatcher.hold("b")
    assert not starts.dispatcher.has_room(ONE_SLOT, None)


def test_what_could_never_start_is_refused_whatever_is_free() -> None:
    starts = Starts(slots=2, memory_bytes=10, quotas={"blue": ONE_SLOT})
    for asked, tenant in (
        (Reservation(task_slots=1, memory_bytes=11), None),
        (Reservation(task_slots=2), "blue"),
    ):
        with pytest.raises(InsufficientResources):
            starts.dispatcher.hold("a", asked, tenant)
    starts.dispatcher.hold("b", ONE_SLOT, "blue")


# Turns.


def test_tenants_take_turns_and_workers_without_one_are_a_tenant_too() -> None:
    starts = Starts(slots=1)
    starts.admit("running")
    starts.admit("b1", "b2", "b3", tenant="blue")
    starts.admit("r1", tenant="red")
    starts.admit("n1", "n2")
    for _ in range(6):
        starts.release(starts.started[-1])
    assert starts.started == ["running", "b1", "r1", "n1", "b2", "n2", "b3"]


def test_nobody_overtakes_within_a_tenant_but_another_tenant_goes_on() -> None:
    starts = Starts(slots=9, memory_bytes=10)
    starts.admit("running", memory_bytes=6)
    starts.admit("large", tenant="blue", memory_bytes=8)
    starts.admit("small", tenant="blue", memory_bytes=1)
    starts.admit("other", tenant="red", memory_bytes=1)
    assert starts.started == ["running", "other"]
    starts.release("running")
    assert starts.started == ["running", "other", "large", "small"]


def test_a_quota_keeps_its_tenant_back_and_nobody_else() -> None:
    starts = Starts(slots=3, quotas={"blue": ONE_SLOT})
    starts.admit("b1", "b2", tenant="blue")
    starts.admit(*(f"n{number}" for number in range(3 * PASSES_MAX)))
    for number in range(2 * PASSES_MAX):
        starts.release(f"n{number}")
    assert "b2" not in starts.started
    starts.release("b1")
    assert starts.started[-1] == "b2"


def test_a_large_one_is_passed_by_so_often_and_then_everybody_waits_for_it() -> None:
    starts = Starts(slots=99, memory_bytes=10)
    starts.admit("r0", "r1", memory_bytes=4)
    starts.admit("large", tenant="blue", memory_bytes=10)
    small = [f"s{number}" for number in range(PASSES_MAX + 1)]
    for worker_id in small:
        starts.admit(worker_id, memory_bytes=1)
        starts.release(worker_id)
    assert starts.started == ["r0", "r1", *small[:-1]]
    late = starts.dispatcher.place(small[-1])
    assert late is not None
    assert (late.due, late.shortage) == ("large", None)
    starts.release("r0")
    assert starts.started[-1] == small[-2]
    starts.release("r1")
    assert starts.started[-1] == "large"
    starts.release("large")
    assert starts.started[-1] == small[-1]


def test_who_stood_behind_one_that_left_has_its_turn() -> None:
    starts = Starts(slots=9, memory_bytes=10)
    starts.admit("running", memory_bytes=6)
    starts.admit("large", memory_bytes=8)
    starts.admit("small", memory_bytes=1)
    starts.dispatcher.withdraw("large")
    assert starts.started == ["running", "small"]


def test_who_asks_for_more_than_there_is_since_a_restart_is_set_aside() -> None:
    starts = Starts(slots=1, memory_bytes=10)
    starts.admit("giant", memory_bytes=11)
    starts.admit("small", memory_bytes=1)
    assert starts.started == ["small"]
    place = starts.dispatcher.place("giant")
    assert place is not None
    assert place.is_impossible
    assert len(starts.dispatcher) == 1
    assert starts.dispatcher.withdraw("giant")
    assert len(starts.dispatcher) == 0


def test_a_closed_dispatcher_starts_nobody() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b")
    starts.dispatcher.close()
    starts.release("a")
    starts.admit("c")
    assert starts.started == ["a"]
    assert len(starts.dispatcher) == 2


# Any schedule.

TENANTS = (None, "blue", "red", "green")
CAPACITY = Reservation(task_slots=4, memory_bytes=12)
QUOTAS = {"blue": Reservation(task_slots=2), "red": Reservation(task_slots=3, memory_bytes=7)}


@dataclass
class Wait:
    """What happened since a worker was at the head of its line and its quota had room for it."""

    starts_max: int
    starts: int = 0


@dataclass
class World:
    """A dispatcher, and what it must be like, told by lists."""

    ledger: Ledger = field(default_factory=lambda: Ledger(CAPACITY, quotas=QUOTAS))
    waiting: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    asked: dict[str, tuple[Reservation, Tenant]] = field(default_factory=dict)
    heads: dict[str, Wait] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(self.ledger, 1000)

    def submit(self, asked: Reservation, tenant: Tenant) -> None:
        worker_id = f"w{len(self.asked)}"
        try:
            self.dispatcher.hold(worker_id, asked, tenant)
        except InsufficientResources:
            assert not within([(asked, tenant)], tenant)
            return
        self.asked[worker_id] = asked, tenant
        self.waiting.append(worker_id)
        self.dispatcher.admit(worker_id, lambda: self.on_start(worker_id), asked, tenant)

    def on_start(self, worker_id: str) -> None:
        tenant = self.asked[worker_id][1]
        line = [waiting for waiting in self.waiting if self.asked[waiting][1] == tenant]
        assert line[0] == worker_id, "first come, first served"
        self.waiting.remove(worker_id)
        self.running.append(worker_id)
        self.heads.pop(worker_id, None)
        for wait in self.heads.values():
            wait.starts += 1
            assert wait.starts <= wait.starts_max

    def end(self, choice: int) -> None:
        if self.running:
            self.dispatcher.release(self.running.pop(choice % len(self.running)))

    def withdraw(self, choice: int) -> None:
        if self.waiting:
            worker_id = self.waiting.pop(choice % len(self.waiting))
            self.heads.pop(worker_id, None)
            assert self.dispatcher.withdraw(worker_id)

    def restart(self) -> None:
        """The next one knows of those that run and, in order of creation, of those that wait."""
        self.ledger = Ledger(CAPACITY, quotas=QUOTAS)
        self.dispatcher = Dispatcher(self.ledger, 1000)
        self.heads.clear()
        for worker_id in self.running:
            self.dispatcher.restore(worker_id, *self.asked[worker_id])
        for worker_id in list(self.waiting):
            self.dispatcher.admit(worker_id, partial(self.on_start, worker_id), *self.asked[worker_id])

    def check(self) -> None:
        held = [self.asked[worker_id] for worker_id in self.running]
        assert self.ledger.active == {each: self.asked[each][0] for each in self.running}
        assert amounts_of(self.ledger.reserved) == summed(part for part, _ in held)
        for tenant in TENANTS:
            own = summed(part for part, of in held if of == tenant)
            assert amounts_of(self.ledger.reserved_by(tenant)) == own
            assert within(held, tenant)
        assert len(self.dispatcher) == len(self.waiting)
        assert self.running or not self.waiting, "everything is free, and somebody waits"

    def note_heads(self) -> None:
        lines = len({self.asked[worker_id][1] for worker_id in self.waiting})
        for worker_id in self.waiting:
            place = self.dispatcher.place(worker_id)
            assert place is not None
            has_quota = place.shortage is None or place.shortage.of == "capacity"
            if place.before_it == 0 and has_quota:
                self.heads.setdefault(worker_id, Wait(PASSES_MAX + lines - 1))


def within(held: list[tuple[Reservation, Tenant]], tenant: Tenant) -> bool:
    """Whether what is held is within the capacity, and within this tenant's quota."""
    own = [part for part, of in held if of == tenant]
    told = [(CAPACITY, [part for part, _ in held]), (QUOTAS.get(tenant or ""), own)]
    return all(
        summed(parts)[place] <= bound
        for bounds, parts in told
        if bounds is not None
        for place, bound in enumerate((bounds.task_slots, bounds.memory_bytes))
        if bound is not None
    )


def steps() -> Iterator[st.SearchStrategy[Callable[[World], None]]]:
    choice = st.integers(0, 99)
    tenant = st.sampled_from(TENANTS)
    small = st.builds(Reservation, task_slots=st.just(1), memory_bytes=st.integers(1, 3))
    large = st.builds(Reservation, task_slots=st.integers(1, 4), memory_bytes=st.integers(8, 13))
    yield st.builds(lambda asked, whose: lambda world: world.submit(asked, whose), small, tenant)
    yield st.builds(lambda asked, whose: lambda world: world.submit(asked, whose), small, tenant)
    yield st.builds(lambda asked, whose: lambda world: world.submit(asked, whose), large, tenant)
    yield st.builds(lambda number: lambda world: world.end(number), choice)
    yield st.builds(lambda number: lambda world: world.end(number), choice)
    yield st.builds(lambda number: lambda world: world.withdraw(number), choice)


RESTART: Callable[[World], None] = World.restart


@given(st.lists(st.one_of(*steps(), st.just(RESTART)), min_size=20, max_size=80))
def test_any_schedule_keeps_the_bounds_the_sums_and_the_order_and_passes_nobody_too_often(
    schedule: list[Callable[[World], None]],
) -> None:
    world = World()
    for step in schedule:
        step(world)
        world.check()
        world.note_heads()
    while world.running:  # Everybody ends at last, so everybody is started.
        world.end(0)
        world.check()
        world.note_heads()
    assert world.waiting == []


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(["blue", "red", None]), st.integers(0, 9)),
        min_size=40,
        max_size=40,
    )
)
def test_a_large_one_is_started_within_its_bound_however_many_small_ones_come(
    stream: list[tuple[int, Tenant, int]],
) -> None:
    world = World()
    for memory_bytes, tenant, _ in stream[:6]:
        world.submit(Reservation(task_slots=1, memory_bytes=memory_bytes), tenant)
    releases_max = len(world.running) + PASSES_MAX + len(TENANTS) - 1
    world.submit(Reservation(task_slots=1, memory_bytes=12), "green")
    large = f"w{len(world.asked) - 1}"
    for memory_bytes, tenant, choice in stream[6:][:releases_max]:
        world.submit(Reservation(task_slots=1, memory_bytes=memory_bytes), tenant)
        world.end(choice)
        world.check()
    assert large not in world.waiting
