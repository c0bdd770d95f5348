"""`/readyz` writes to the store, so it knows a disk that takes nothing, and names the place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.disks import fill, small_disk
from support.serving import Served, durable_server, serving


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        yield disk


@pytest.fixture(params=["memory", "fs"])
def served(request: pytest.FixtureRequest, tmp_path: Path, disk: Path) -> Iterator[Served]:
    """A server all of whose files are on the small disk."""
    if request.param == "memory":
        with serving(tmp_path / "state", env={"TMPDIR": str(disk)}) as served:
            yield served
        return
    flags = ("--fs-root", str(disk), "--durability=os")
    with (
        durable_server(tmp_path / "state", *flags, runtime_id="rt-ready") as place,
        place.serving() as served,
    ):
        yield served


def test_a_full_disk_is_told_until_there_is_room_again(served: Served, disk: Path) -> None:
    api = Api(served)
    assert api.get("/readyz")["status"] == "ready"
    hog = fill(disk)
    ready = api.request("GET", "/readyz")
    assert (ready.status, ready.code) == (503, "store_io")
    assert str(disk) in ready.message
    assert "No space left" in ready.message
    assert api.get("/healthz")["status"] == "ok"
    hog.unlink()
    assert api.get("/readyz")["status"] == "ready"
