"""A store whose disk is full while workers talk: it is told, nobody dies, and room makes everything go on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from support.api import Answer, Api
from support.chatter import Chatterer, Heard, acknowledged_in_order, chatterers
from support.disks import fill, small_disk
from support.feed import in_thread
from support.mortal import Whereabouts, follow, send
from support.patience import PATIENCE_S
from support.processes import wait_true
from support.serving import Place, Served, durable_server

pytestmark = pytest.mark.trio

DISK_BYTES = 24 << 20
PERIOD_MS = 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        yield disk


@pytest.fixture(params=["fsync", pytest.param("os", marks=pytest.mark.soak)])
def place(request: pytest.FixtureRequest, tmp_path: Path, disk: Path) -> Iterator[Place]:
    """Only the store is on the small disk."""
    flags = (f"--durability={request.param}", "--grace-ms=500")
    with durable_server(tmp_path / "state", *flags, runtime_id="rt-full", root=disk) as place:
        try:
            yield place
        finally:
            (disk / "hog").unlink(missing_ok=True)  # Else no server could end what a failed test left.


class Stage:
    """Talkers that are observed, and what was heard of them."""

    def __init__(self) -> None:
        self.where = Whereabouts()
        self.talkers = chatterers(4, period_ms=PERIOD_MS)
        self.heard = {talker.name: Heard(talker.name, talker.speech) for talker in self.talkers}
        self.pids: dict[str, int] = {}

    async def begin(self, served: Served) -> None:
        for talker in self.talkers:
            worker = await in_thread(
                Api(served).create, *talker.argv(), worker_id=talker.name, speech=talker.speech
            )
            self.pids[talker.name] = worker["pid"]

    @asynccontextmanager
    async def observed(self, served: Served) -> AsyncIterator[None]:
        """Observers come, and at the end of the block stay until every talker has left."""
        self.where.tell(served)
        with trio.fail_after(4 * PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for heard in self.heard.values():
                    nursery.start_soon(follow, self.where, heard)
                yield

    async def counted_on(self) -> None:
        """Return when every observer has heard more of its talker."""
        before = {name: heard.counted for name, heard in self.heard.items()}

        def more() -> bool:
            return all(heard.counted > before[name] + 20 for name, heard in self.heard.items())

        await in_thread(wait_true, more, "somebody is not heard any more")

    async def leave(self, served: Served) -> None:
        for talker in self.talkers:
            assert await send(served, talker, "leave")

    def nothing_is_missing(self) -> None:
        for talker in self.talkers:
            heard = self.heard[talker.name]
            heard.complete()
            acknowledged_in_order(talker, heard)
            assert heard.exit == {"code": 0, "signal": None, "reason": "exited"}


async def refused(served: Served, talker: Chatterer) -> Answer:
    """Send input until one is refused; what is acknowledged until then must be kept."""
    with trio.fail_after(PATIENCE_S):
        while True:
            content = f"{talker.name} {len(talker.attempted)} {'f' * 3_000}"
            talker.attempted.append(content)
            path = f"/v1/workers/{talker.name}/input"
            answer = await in_thread(Api(served).request, "POST", path, {"content": content})
            if answer.status != 200:
                return answer
            talker.acknowledged[content] = answer.json["ack"]["event_id"]


async def ready(served: Served) -> None:
    """Return when the server takes work."""

    def is_ready() -> bool:
        return Api(served).request("GET", "/readyz").status == 200

    await in_thread(wait_true, is_ready, "there is room, and it takes no work")


async def test_a_full_disk_refuses_and_kills_nobody_and_room_makes_everything_go_on(
    place: Place, disk: Path
) -> None:
    stage = Stage()
    with place.serving() as served:
        api = Api(served)
        await stage.begin(served)
        async with stage.observed(served):
            await stage.counted_on()
            for _ in range(2):
                hog = await in_thread(fill, disk)
                for talker in stage.talkers:
                    answer = await refused(served, talker)
                    assert (answer.status, answer.code) == (500, "store_io"), answer
                    assert str(disk) in answer.message
                answer = await in_thread(
                    api.request, "POST", "/v1/workers", {"execution": {"program": "cat"}}
                )
                assert (answer.status, answer.code) == (500, "store_io"), answer
                assert str(disk) in answer.message
                names = {
                    worker["worker_id"] for worker in (await in_thread(api.get, "/v1/workers"))["workers"]
                }
                assert names == set(stage.pids)
                for name, pid in stage.pids.items():
                    worker = await in_thread(api.worker, name)
                    assert (worker["pid"], worker["phase"]) == (pid, "running")
                    os.kill(pid, 0)
                hog.unlink()
                await ready(served)
                await stage.counted_on()
                for talker in stage.talkers:
                    assert await send(served, talker, f"{talker.name} {len(talker.attempted)} again")
            await stage.leave(served)
        stage.nothing_is_missing()


async def test_a_server_that_dies_on_a_full_disk_loses_nothing_that_it_acknowledged(
    place: Place, disk: Path
) -> None:
    stage = Stage()
    with place.serving() as served:
        await stage.begin(served)
        hog = await in_thread(fill, disk)
        for talker in stage.talkers:
            assert (await refused(served, talker)).code == "store_io"
        place.kill()
    hog.unlink()
    with place.serving() as served:
        async with stage.observed(served):
            await stage.counted_on()
            for name, pid in stage.pids.items():
                assert (await in_thread(Api(served).worker, name))["pid"] == pid
            await stage.leave(served)
        stage.nothing_is_missing()
