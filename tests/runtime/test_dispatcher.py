"""First come, first served, in front of a ledger that is never over its capacity."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import ResourceLimitExceeded
from watchglass.protocol.execution import Reservation
from watchglass.runtime.dispatcher import Dispatcher
from watchglass.runtime.ledger import Ledger


class Starts:
    """Who was started, in which order."""

    def __init__(self, slots: int, waiting_max: int = 100) -> None:
        self.ledger = Ledger(Reservation(task_slots=slots))
        self.dispatcher = Dispatcher(self.ledger, waiting_max)
        self.started: list[str] = []

    def admit(self, *worker_ids: str) -> None:
        for worker_id in worker_ids:
            self.dispatcher.admit(worker_id, self._starter(worker_id))

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
    starts.dispatcher.release("a")
    assert starts.started == ["a", "b"]
    starts.dispatcher.release("b")
    assert starts.started == ["a", "b", "c"]


def test_a_release_of_nothing_starts_nobody() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b")
    starts.dispatcher.release("b")
    starts.dispatcher.release("nobody")
    assert starts.started == ["a"]


def test_a_worker_knows_how_many_wait_before_it() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b", "c")
    assert [starts.dispatcher.place(worker_id) for worker_id in ("a", "b", "c", "d")] == [None, 0, 1, None]


def test_a_withdrawn_worker_is_never_started() -> None:
    starts = Starts(slots=1)
    starts.admit("a", "b", "c")
    assert starts.dispatcher.withdraw("b")
    assert not starts.dispatcher.withdraw("b")
    assert not starts.dispatcher.withdraw("a")
    starts.dispatcher.release("a")
    assert starts.started == ["a", "c"]


def test_a_full_queue_refuses_before_anything_is_kept_and_names_its_bound() -> None:
    starts = Starts(slots=1, waiting_max=2)
    for worker_id in ("a", "b", "c"):
        starts.dispatcher.hold(worker_id)
        starts.admit(worker_id)
    with pytest.raises(ResourceLimitExceeded, match="there are 2 workers waiting for a slot already"):
        starts.dispatcher.hold("d")
    starts.dispatcher.release("a")
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


@given(
    slots=st.integers(1, 3),
    waiting_max=st.integers(0, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["create", "release", "withdraw"]), st.integers(0, 9)), max_size=40
    ),
)
def test_any_order_of_creations_and_ends_starts_everybody_in_turn(
    slots: int, waiting_max: int, steps: list[tuple[str, int]]
) -> None:
    starts = Starts(slots, waiting_max)
    queue: list[str] = []  # The model: who waits, who runs, who was ever started.
    running: list[str] = []
    started: list[str] = []
    for number, (step, choice) in enumerate(steps):
        if step == "create" and len(running) + len(queue) < slots + waiting_max:
            starts.dispatcher.hold(f"w{number}")
            starts.admit(f"w{number}")
            queue.append(f"w{number}")
        elif step == "create":
            with pytest.raises(ResourceLimitExceeded):
                starts.dispatcher.hold(f"w{number}")
        elif step == "release" and running:
            starts.dispatcher.release(running.pop(choice % len(running)))
        elif step == "withdraw" and queue:
            assert starts.dispatcher.withdraw(queue.pop(choice % len(queue)))
        while queue and len(running) < slots:
            running.append(queue.pop(0))
            started.append(running[-1])
        assert starts.started == started
        assert set(starts.ledger.active) == set(running)
        assert [starts.dispatcher.place(worker_id) for worker_id in queue] == list(range(len(queue)))
