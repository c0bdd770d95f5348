"""What is reserved equals the sum of the active reservations, and is never over a capacity or a quota."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import InsufficientResources
from watchglass.protocol.execution import Limits, Reservation
from watchglass.runtime.ledger import DEFAULTS, RESOURCES, Ledger, Shortage, Tenant, amounts_of, summed

SLOT = Reservation(task_slots=1)


def reservations(most: int) -> st.SearchStrategy[Reservation]:
    amount = st.integers(1, most)
    return st.builds(
        Reservation, task_slots=st.integers(1, 3), memory_bytes=st.none() | amount, pids=st.none() | amount
    )


operations = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, "blue", "red"]), st.none() | reservations(9)),
    max_size=60,
)


def within(reserved: Reservation, bounds: Reservation | None) -> bool:
    """Whether no bound is passed; None bounds nothing."""
    told = [] if bounds is None else [getattr(bounds, resource) for resource in RESOURCES]
    return all(
        bound is None or used <= bound for used, bound in zip(amounts_of(reserved), told, strict=False)
    )


@given(reservations(20), st.dictionaries(st.sampled_from(["blue", "red"]), reservations(12)), operations)
def test_any_reserves_and_releases_keep_the_sums_and_the_bounds(
    capacity: Reservation,
    quotas: dict[str, Reservation],
    steps: list[tuple[str, Tenant, Reservation | None]],
) -> None:
    ledger = Ledger(capacity, quotas=quotas)
    model: dict[str, tuple[Tenant, Reservation]] = {}
    for worker_id, tenant, asked in steps:
        if asked is None:
            assert ledger.release(worker_id) == (model.pop(worker_id, None) is not None)
        elif worker_id not in model:
            trial = {**model, worker_id: (tenant, asked)}
            whole = summed(part for _, part in trial.values())
            own = summed(part for of, part in trial.values() if of == tenant)
            quota = quotas.get(tenant or "")
            fits = within(ledger.shown(whole), capacity) and within(ledger.shown(own), quota)
            assert ledger.try_reserve(worker_id, asked, tenant) == fits
            model = trial if fits else model
        assert amounts_of(ledger.reserved) == summed(part for _, part in model.values())
        for whose in (None, "blue", "red"):
            own = summed(part for of, part in model.values() if of == whose)
            assert amounts_of(ledger.reserved_by(whose)) == own
        assert within(ledger.reserved, capacity)
        assert all(within(ledger.reserved_by(whose), quota) for whose, quota in quotas.items())
        assert ledger.active == {held: part for held, (_, part) in model.items()}


def test_a_reservation_is_released_exactly_once() -> None:
    ledger = Ledger(Reservation(task_slots=2))
    assert ledger.try_reserve("a", Reservation(task_slots=2))
    assert [ledger.release("a"), ledger.release("a")] == [True, False]
    assert ledger.reserved == Reservation(task_slots=0)


def test_a_second_reservation_of_one_worker_is_our_bug() -> None:
    ledger = Ledger(Reservation(task_slots=2))
    ledger.try_reserve("a", SLOT)
    with pytest.raises(AssertionError):
        ledger.try_reserve("a", SLOT)


def test_what_is_active_is_told_as_a_copy() -> None:
    ledger = Ledger(Reservation(task_slots=1))
    ledger.try_reserve("a", SLOT)
    ledger.active.clear()
    assert ledger.reserved.task_slots == 1
    assert (ledger.held("a"), ledger.held("b")) == (SLOT, None)


def test_a_worker_without_a_limit_reserves_the_default_of_what_is_accounted_and_never_nothing() -> None:
    whole = Ledger(Reservation(task_slots=4, memory_bytes=1 << 40, pids=10_000))
    assert whole.asked_by(Limits(), None) == DEFAULTS
    assert whole.asked_by(Limits(memory_bytes=5, pids_max=7), None) == Reservation(
        task_slots=1, memory_bytes=5, pids=7
    )
    assert Ledger(Reservation(task_slots=4)).asked_by(Limits(memory_bytes=5), None) == SLOT


def test_a_default_is_never_over_what_bounds_it_but_a_limit_is_taken_at_its_word() -> None:
    quotas = {"blue": Reservation(task_slots=1, memory_bytes=100)}
    ledger = Ledger(Reservation(task_slots=4, memory_bytes=1000, pids=3), quotas=quotas)
    assert ledger.asked_by(Limits(), "blue") == Reservation(task_slots=1, memory_bytes=100, pids=3)
    assert ledger.asked_by(Limits(), "red") == Reservation(task_slots=1, memory_bytes=1000, pids=3)
    assert ledger.asked_by(Limits(memory_bytes=2000), "blue").memory_bytes == 2000


def test_a_quota_accounts_a_resource_for_its_tenant_alone() -> None:
    ledger = Ledger(Reservation(task_slots=4), quotas={"blue": Reservation(task_slots=2, memory_bytes=100)})
    asked = ledger.asked_by(Limits(memory_bytes=60), "blue")
    assert ledger.asked_by(Limits(memory_bytes=60), None) == SLOT
    assert ledger.try_reserve("a", asked, "blue")
    assert ledger.shortage(asked, "blue") == Shortage("memory_bytes", 60, 40, 100, "quota")
    assert ledger.available_to("blue") == Reservation(task_slots=1, memory_bytes=40)
    assert ledger.reserved == Reservation(task_slots=1, memory_bytes=60)
    assert ledger.available == Reservation(task_slots=3)


@pytest.mark.parametrize(
    ("asked", "tenant", "resource", "bound", "whose"),
    [
        (Reservation(task_slots=5), None, "task_slots", 4, None),
        (Reservation(task_slots=1, memory_bytes=1001), "red", "memory_bytes", 1000, None),
        (Reservation(task_slots=1, pids=51), "blue", "pids", 50, None),
        (Reservation(task_slots=3), "blue", "task_slots", 2, "blue"),
        (Reservation(task_slots=1, memory_bytes=101), "blue", "memory_bytes", 100, "blue"),
    ],
)
def test_what_can_never_be_held_is_refused_with_the_resource_and_its_bound(
    asked: Reservation, tenant: Tenant, resource: str, bound: int, whose: str | None
) -> None:
    ledger = Ledger(
        Reservation(task_slots=4, memory_bytes=1000, pids=50),
        quotas={"blue": Reservation(task_slots=2, memory_bytes=100)},
    )
    with pytest.raises(InsufficientResources, match=f"{resource} .* over the {bound} ") as refused:
        ledger.check(asked, tenant)
    fault = refused.value
    assert (fault.resource, fault.capacity, fault.tenant) == (resource, bound, whose)
    assert fault.asked == getattr(asked, resource)


def test_what_is_restored_may_pass_a_bound_and_keeps_others_out() -> None:
    ledger = Ledger(Reservation(task_slots=1, memory_bytes=10))
    ledger.restore("a", Reservation(task_slots=1, memory_bytes=8))
    ledger.restore("b", Reservation(task_slots=1, memory_bytes=8))
    assert ledger.reserved == Reservation(task_slots=2, memory_bytes=16)
    assert ledger.available == Reservation(task_slots=0, memory_bytes=0)
    ledger.release("a")
    assert not ledger.try_reserve("c", Reservation(task_slots=1, memory_bytes=1))


def test_a_capacity_that_was_found_counts_where_none_was_configured() -> None:
    ledger = Ledger(Reservation(task_slots=4, memory_bytes=100))
    ledger.take_capacity(Reservation(task_slots=64, memory_bytes=999, pids=50))
    assert ledger.capacity == Reservation(task_slots=4, memory_bytes=100, pids=50)
    assert ledger.try_reserve("a", Reservation(task_slots=1, memory_bytes=1, pids=1))
    with pytest.raises(AssertionError):
        ledger.take_capacity(Reservation(task_slots=64))


def test_tenants_are_those_with_a_quota_and_those_that_hold_something() -> None:
    ledger = Ledger(Reservation(task_slots=4), quotas={"red": SLOT})
    ledger.try_reserve("a", SLOT, "blue")
    ledger.try_reserve("b", SLOT)
    assert ledger.tenants == ["blue", "red"]
    ledger.release("a")
    assert ledger.tenants == ["red"]
