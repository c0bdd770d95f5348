"""A store that takes no writes, as who waits for a worker sees it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.disks import fill, small_disk
from support.processes import wait_true
from support.serving import Place, Served, durable_server
from support.shell import ended, read_until, started

TALKER = ["sh", "-c", "trap '' TERM; while :; do echo said; sleep 0.05; done"]
NO_ROOM = b"No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        yield disk


@pytest.fixture
def place(tmp_path: Path, disk: Path) -> Iterator[Place]:
    """Only the store is on the small disk."""
    with durable_server(tmp_path / "state", runtime_id="rt-full", root=disk) as place:
        try:
            yield place
        finally:
            (disk / "hog").unlink(missing_ok=True)  # Else no server could end what a failed test left.


def full(served: Served, disk: Path) -> Path:
    """Fill the disk, and return when the store has refused what the worker says; what fills it."""
    hog = fill(disk)

    def is_refused() -> bool:
        return Api(served).get("/v1/workers/w/explain")["explanation"]["store_fault"] is not None

    wait_true(is_refused, "there is room on a disk that is full")
    return hog


def test_a_run_says_why_no_end_is_seen_and_leaves_at_the_second_ctrl_c(place: Place, disk: Path) -> None:
    with (
        place.serving() as served,
        started(served.state_dir, "run", "--id", "w", "--", *TALKER) as process,
    ):
        read_until(process, b"said")
        full(served, disk)
        process.send_signal(signal.SIGINT)
        told = read_until(process, b"told when it does", stream="stderr")
        assert NO_ROOM in told
        code, _, rest = ended(process, signal.SIGINT)
        assert code == 130
        assert rest.count("takes no writes") == 0, "it is said once"
        assert "w is gone; how it ended is told when there is room" in rest
        assert not place.processes("w")


def test_who_stops_a_worker_is_told_why_that_takes_long(place: Place, disk: Path) -> None:
    with place.serving() as served, started(served.state_dir, "run", "--id", "w", "--", *TALKER) as talker:
        read_until(talker, b"said")
        hog = full(served, disk)
        with started(served.state_dir, "cancel", "w") as process:
            assert NO_ROOM in read_until(process, b"told when it does", stream="stderr")
            hog.unlink()
            assert ended(process)[0] == 0
        assert ended(talker)[0] == 128 + signal.SIGKILL
