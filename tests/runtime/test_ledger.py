"""What is reserved equals the sum of the active reservations, and is never over the capacity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.execution import Reservation
from watchglass.runtime.ledger import Ledger

operations = st.lists(
    st.tuples(st.sampled_from("abcde"), st.one_of(st.none(), st.integers(1, 4))), max_size=40
)


@given(st.integers(1, 6), operations)
def test_any_reserves_and_releases_keep_the_sum_and_the_bound(
    capacity: int, steps: list[tuple[str, int | None]]
) -> None:
    ledger = Ledger(Reservation(task_slots=capacity))
    model: dict[str, int] = {}
    for worker_id, slots in steps:
        if slots is None:
            assert ledger.release(worker_id) == (model.pop(worker_id, None) is not None)
        elif worker_id not in model:
            fits = sum(model.values()) + slots <= capacity
            assert ledger.try_reserve(worker_id, Reservation(task_slots=slots)) == fits
            model |= {worker_id: slots} if fits else {}
        assert ledger.reserved.task_slots == sum(model.values()) <= capacity
        assert {held: part.task_slots for held, part in ledger.active.items()} == model


def test_a_reservation_is_released_exactly_once() -> None:
    ledger = Ledger(Reservation(task_slots=2))
    assert ledger.try_reserve("a", Reservation(task_slots=2))
    assert [ledger.release("a"), ledger.release("a")] == [True, False]
    assert ledger.reserved == Reservation(task_slots=0)


def test_a_second_reservation_of_one_worker_is_our_bug() -> None:
    ledger = Ledger(Reservation(task_slots=2))
    ledger.try_reserve("a", Reservation(task_slots=1))
    with pytest.raises(AssertionError):
        ledger.try_reserve("a", Reservation(task_slots=1))


def test_what_is_active_is_told_as_a_copy() -> None:
    ledger = Ledger(Reservation(task_slots=1))
    ledger.try_reserve("a", Reservation(task_slots=1))
    ledger.active.clear()
    assert ledger.reserved.task_slots == 1
