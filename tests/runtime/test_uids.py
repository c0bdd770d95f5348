"""Each sandboxed worker is a user of its own, as long as anything of it is left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.last_uid import LastUid
from watchglass.runtime.uids import (
    WORKER_UID_BASE,
    WORKER_UID_COUNT,
    WorkerUids,
    has_processes,
    worker_uids,
)

HUNDRED = range(100, 200)


def kept(path: Path, uid: int) -> LastUid:
    last = LastUid(path / "worker-uid")
    last.keep(uid)
    return last


@pytest.fixture
def uids(tmp_path: Path) -> WorkerUids:
    """Of a hundred; the first one comes next."""
    return WorkerUids(HUNDRED, kept(tmp_path, 199))


def test_no_two_active_workers_are_the_same_user(uids: WorkerUids) -> None:
    assert [uids.take(worker) for worker in ("a", "b", "a", "c")] == [100, 101, 100, 102]


def test_a_number_is_given_again_when_nothing_of_its_worker_is_left_and_all_others_were(
    tmp_path: Path,
) -> None:
    uids = WorkerUids(range(100, 104), kept(tmp_path, 103))
    uids.take("a")
    uids.take("b")
    uids.release("a")
    uids.release("never there")
    assert [uids.take(worker) for worker in ("c", "d", "e")] == [102, 103, 100]


def test_an_adopted_worker_keeps_the_number_that_it_runs_as(uids: WorkerUids) -> None:
    uids.restore("adopted", 101)
    assert [uids.take(worker) for worker in ("a", "b")] == [100, 102]
    assert uids.take("adopted") == 101


def test_one_that_ran_as_another_user_gives_none_of_these_back(tmp_path: Path) -> None:
    uids = WorkerUids(range(100, 101), kept(tmp_path, 100))
    uids.restore("of-another-range", 7)
    uids.release("of-another-range")
    assert uids.take("a") == 100
    with pytest.raises(LaunchFailed, match=r"users 100 to 100, all in use .*: Too many users \(EUSERS\)"):
        uids.take("b")


def test_the_next_runtime_goes_on_behind_the_last_one_that_was_given(tmp_path: Path) -> None:
    first = WorkerUids(HUNDRED, kept(tmp_path, 150))
    assert [first.take("a"), first.take("b")] == [151, 152]
    assert WorkerUids(HUNDRED, LastUid(tmp_path / "worker-uid")).take("c") == 153


@pytest.mark.parametrize("said", [b"", b"worker", b"99\n", b"200\n"])
def test_what_is_no_number_of_the_range_is_as_if_it_was_not_there(tmp_path: Path, said: bytes) -> None:
    (tmp_path / "worker-uid").write_bytes(said)
    assert WorkerUids(HUNDRED, LastUid(tmp_path / "worker-uid")).take("a") in HUNDRED


def test_a_disk_that_takes_no_number_stops_no_worker(tmp_path: Path) -> None:
    uids = WorkerUids(HUNDRED, LastUid(tmp_path / "missing" / "worker-uid"))
    assert {uids.take("a"), uids.take("b")} <= set(HUNDRED)


def test_one_that_nobody_kept_begins_anywhere(tmp_path: Path) -> None:
    """So the first worker after each restart is not the user that the first one before it was."""
    began = {WorkerUids(range(1_000_000)).take("a") for _ in range(10)}
    assert len(began) > 1


def test_a_user_that_has_processes_is_not_given(tmp_path: Path) -> None:
    busy = {100, 102}
    uids = WorkerUids(range(100, 104), kept(tmp_path, 103), is_used=busy.__contains__)
    assert [uids.take("a"), uids.take("b")] == [101, 103]
    with pytest.raises(LaunchFailed):
        uids.take("c")
    busy.remove(102)
    assert uids.take("c") == 102


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.parametrize("uid", [WORKER_UID_BASE + 60_000, (1 << 32) - 1000])
def test_the_kernel_knows_whether_a_user_has_processes(uid: int) -> None:
    assert not has_processes(uid)
    with subprocess.Popen(["cat"], user=uid, stdin=subprocess.PIPE, cwd="/") as process:
        assert has_processes(uid)
        assert process.stdin is not None
        process.stdin.close()
    assert not has_processes(uid)


def test_above_a_base_of_its_own_a_server_takes_no_more_users_than_it_runs_workers() -> None:
    assert len(worker_uids(WORKER_UID_BASE, None, running_max=512)) == WORKER_UID_COUNT
    assert len(worker_uids(WORKER_UID_BASE, None, running_max=100_000)) == 100_000
    assert worker_uids(10_000, None, running_max=512) == range(10_000, 10_512)
    assert worker_uids(10_000, 20, running_max=512) == range(10_000, 10_020)


class Model:
    """Who holds what, and since when the others rest: less is longer."""

    def __init__(self, uids: range, given: int) -> None:
        self.uids = uids
        self.held: dict[str, int] = {}
        self.now = 0
        self.restart(given)

    def restart(self, given: int) -> None:
        """The others rest in the order of their numbers, from the one behind the last that was given."""
        size = len(self.uids)
        self.rests = {
            uid: (uid - given - 1) % size - size for uid in self.uids if uid not in self.held.values()
        }

    def take(self, worker: str, uid: int) -> None:
        assert uid == min(self.rests, key=lambda free: self.rests[free]), "another one rests longer"
        del self.rests[uid]
        self.held[worker] = uid
        assert len(set(self.held.values())) == len(self.held)

    def release(self, worker: str) -> None:
        self.now += 1
        self.rests[self.held.pop(worker)] = self.now


@given(
    size=st.integers(1, 8),
    steps=st.lists(st.one_of(st.just("take"), st.just("restart"), st.integers(0, 7)), max_size=60),
)
def test_never_two_at_once_and_always_the_one_that_rests_longest(size: int, steps: list[str | int]) -> None:
    """A number in the steps is of the worker that ends, counted from the oldest."""
    numbers = range(100, 100 + size)
    with TemporaryDirectory() as folder:
        last = kept(Path(folder), numbers[-1])
        uids, model = WorkerUids(numbers, last), Model(numbers, numbers[-1])
        for count, step in enumerate(steps):
            if step == "restart":
                uids = WorkerUids(numbers, last)
                for worker, uid in model.held.items():
                    uids.restore(worker, uid)
                given_last = last.read()
                assert given_last is not None
                model.restart(given_last)
            elif isinstance(step, int):
                if step < len(model.held):
                    worker = list(model.held)[step]
                    uids.release(worker)
                    model.release(worker)
            elif model.rests:
                model.take(str(count), uids.take(str(count)))
            else:
                with pytest.raises(LaunchFailed):
                    uids.take(str(count))
