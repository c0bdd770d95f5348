"""The runtime's feed on a real server: exact resume over `kill -9`, by three transports and our clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import watchglass.client
import watchglass.client.sync

from support.api import Api
from support.following import CUT, TRANSPORTS, AllReading, follow
from support.inprocess import TOKEN
from support.processes import wait_true
from support.programs import program
from support.serving import Place, durable_server
from support.tasks import soon

pytestmark = pytest.mark.asyncio
WORKERS = ("a", "b", "c")
Json = dict[str, Any]


@pytest.fixture(params=["os", pytest.param("fsync", marks=pytest.mark.soak)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    flags = ("--allow-host=127.0.0.1", f"--durability={request.param}")
    with durable_server(tmp_path, *flags, runtime_id="rt-everybody") as place:
        yield place


def reading() -> AllReading:
    return AllReading(query="&workers=*", is_last=lambda envelope: envelope["worker_id"] == "the-last")


def has_ended(api: Api, worker_id: str) -> bool:
    return bool(api.worker(worker_id)["finished_at"])


def without_prev(envelopes: list[Json]) -> list[Json]:
    return [{**each, "prev": None} for each in envelopes]


async def test_a_reader_of_everybody_goes_on_over_a_killed_server(place: Place) -> None:
    readings = {transport: reading() for transport in TRANSPORTS}
    with place.serving() as served:
        api = Api(served)
        for worker_id in WORKERS:
            await asyncio.to_thread(
                api.create, *program("events", "n", 300, "wait"), speech="jsonl", worker_id=worker_id
            )
        reads = [
            asyncio.create_task(follow(transport, served.url, each, retry=False))
            for transport, each in readings.items()
        ]
        for worker_id in WORKERS:
            await asyncio.to_thread(api.say, worker_id, "go")
        await asyncio.to_thread(
            wait_true, lambda: int(api.worker("c")["transcript_len"]) > 0, "nothing is said"
        )
        place.kill()
        for outcome in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(outcome, (AllReading, *CUT)), outcome
    with place.serving() as served:
        api = Api(served)
        for worker_id in WORKERS:
            await asyncio.to_thread(wait_true, partial(has_ended, api, worker_id), f"{worker_id} goes on")
        await asyncio.to_thread(api.create, worker_id="the-last")
        for transport, each in readings.items():
            await soon(follow(transport, served.url, each, retry=False))
        whole = await soon(follow("websocket", served.url, reading(), retry=False))
        async with watchglass.client.connect(served.url, token=served.token) as wg, wg.follow_all() as events:
            followed = [await soon(anext(events)) for _ in whole.envelopes]
    events_of = without_prev(whole.envelopes)
    assert [each["cursor"] for each in events_of] == sorted({each["cursor"] for each in events_of})
    for transport, each in readings.items():
        assert without_prev(each.envelopes) == events_of, transport
    assert [event.envelope for event in followed] == whole.envelopes
    for worker_id in WORKERS:
        theirs = [each["payload"]["data"] for each in events_of if each["worker_id"] == worker_id]
        said = "".join(data["text"] for data in theirs if set(data) == {"text"})
        assert said == "".join(f"n {number}\n" for number in range(300))
