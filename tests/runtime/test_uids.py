"""Each sandboxed worker is a user of its own, as long as anything of it is left."""

from __future__ import annotations

from watchglass.runtime.uids import WorkerUids


def test_no_two_active_workers_are_the_same_user() -> None:
    uids = WorkerUids(100)
    assert [uids.take(worker) for worker in ("a", "b", "a", "c")] == [100, 101, 100, 102]


def test_a_number_is_free_again_when_nothing_of_its_worker_is_left() -> None:
    uids = WorkerUids(100)
    uids.take("a")
    uids.take("b")
    uids.release("a")
    uids.release("never there")
    assert (uids.take("c"), uids.take("d")) == (100, 102)


def test_an_adopted_worker_keeps_the_number_that_it_runs_as() -> None:
    uids = WorkerUids(100)
    uids.restore("adopted", 101)
    assert [uids.take(worker) for worker in ("a", "b")] == [100, 102]
    assert uids.take("adopted") == 101
