"""While the store takes no writes: calls are refused, what happens waits, nothing is lost, and it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
import pytest_asyncio

from watchglass.protocol.errors import StatePoisoned, StoreIo, WorkerNotFound
from watchglass.protocol.events import Event
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.workers import WorkerInput
from watchglass.runtime import Runtime, RuntimeOptions, open_runtime
from watchglass.runtime.speech.text import TextSpeech

from support.agents import CAT, python
from support.failing import Room, open_failing_store
from support.processes import marked
from support.tasks import begun, soon, until
from support.workers import request_of

pytestmark = pytest.mark.asyncio

COUNTER = """
import sys
for line in sys.stdin:
    for number in range(int(line)):
        print(number, flush=True)
"""


@dataclass
class House:
    """A runtime whose store may be full."""

    runtime: Runtime
    room: Room

    async def create(self, worker_id: str, **fields: object) -> None:
        await self.runtime.create_worker(request_of(worker_id=worker_id, **fields))

    async def say(self, worker_id: str, content: str) -> None:
        await self.runtime.send_input(worker_id, WorkerInput(content=content))

    async def text_until(self, worker_id: str, end: str) -> str:
        """All that the worker said, from the beginning to where it says `end`."""
        text = ""
        async with self.runtime.observe(worker_id, "earliest") as reader:
            async for record in reader:
                payload = orjson.loads(record.line)["payload"]
                if payload["event"] == "text_delta":
                    text += payload["data"]["text"]
                    if text.endswith(end):
                        break
        return text

    async def events(self, worker_id: str) -> list[str]:
        """The names of all events of an ended worker."""
        names: list[str] = []
        async with self.runtime.observe(worker_id, "earliest") as reader:
            async for record in reader:
                names.append(orjson.loads(record.line)["payload"]["event"])
                if names[-1] == "end":
                    break
        return names


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    async with (
        open_failing_store() as (store, room),
        open_runtime(RuntimeOptions(grace_ms=500), store) as runtime,
    ):
        yield House(runtime, room)
        room.is_full = False


async def test_a_creation_is_refused_and_leaves_nothing(house: House) -> None:
    house.room.is_full = True
    with pytest.raises(StoreIo, match="No space left"):
        await house.create("refused", execution=CAT)
    house.room.is_full = False
    with pytest.raises(WorkerNotFound):
        house.runtime.worker("refused")
    assert marked(house.runtime.runtime_id) == set()
    await house.create("refused", execution=CAT)


async def test_an_input_is_refused_and_never_reaches_the_process(house: House) -> None:
    await house.create("w", execution=CAT)
    house.room.is_full = True
    with pytest.raises(StoreIo):
        await house.say("w", "refused")
    house.room.is_full = False
    await house.say("w", "taken")
    assert await soon(house.text_until("w", "taken\n")) == "taken\n"


async def test_output_waits_for_room_and_goes_on_without_a_gap(house: House) -> None:
    await house.create("w", execution=python(COUNTER))
    await house.say("w", "20000")
    refused = house.room.refused
    house.room.is_full = True
    await until(lambda: house.room.refused > refused)
    house.room.is_full = False
    expected = "".join(f"{number}\n" for number in range(20000))
    assert await soon(house.text_until("w", "19999\n")) == expected


async def test_a_worker_is_stopped_although_nothing_can_be_written(house: House) -> None:
    await house.create("w", execution=CAT)
    await house.say("w", "hello")
    await soon(house.text_until("w", "hello\n"))
    house.room.is_full = True
    stopping = await begun(house.runtime.stop("w"))
    await until(lambda: not marked(house.runtime.runtime_id, "w"))
    assert not stopping.done()
    house.room.is_full = False
    assert (await soon(stopping)).phase is Phase.STOPPED
    names = await soon(house.events("w"))
    assert names[-6:] == ["status", "text_done", "released", "exit", "status", "end"]


async def test_an_exit_is_told_when_there_is_room_again(house: House) -> None:
    await house.create("w", execution=CAT)
    await house.runtime.close_stdin("w")
    house.room.is_full = True
    await until(lambda: house.room.refused > 0)
    assert house.runtime.summary().reserved.task_slots == 1
    house.room.is_full = False
    assert (await soon(house.events("w")))[-3:] == ["exit", "status", "end"]
    assert house.runtime.worker("w").phase is Phase.SUCCEEDED


async def test_why_nothing_is_seen_of_a_worker_is_explained_until_there_is_room(house: House) -> None:
    await house.create("w", execution=CAT)
    house.room.is_full = True
    stopping = await begun(house.runtime.stop("w"))
    await until(lambda: house.runtime.worker("w").pid is None)
    told = house.runtime.explain("w")
    full = "write events: No space left on device"
    assert (told.phase, told.store_fault) == (Phase.STOPPING, full)
    assert told.summary.endswith(f"waits until the store takes writes again: {full}")
    house.room.is_full = False
    await soon(stopping)
    told = house.runtime.explain("w")
    assert (told.phase, told.store_fault) == (Phase.STOPPED, None)
    assert "waits" not in told.summary


async def test_an_input_whose_sync_failed_is_refused_but_not_taken_back(house: House) -> None:
    await house.create("w", execution=CAT)
    house.room.syncs_fail = True
    with pytest.raises(StoreIo, match="fdatasync"):
        await house.say("w", "written")
    house.room.syncs_fail = False
    assert await soon(house.text_until("w", "written\n")) == "written\n"


async def test_a_creation_whose_sync_failed_is_refused_and_leaves_nothing(house: House) -> None:
    house.room.syncs_fail = True
    with pytest.raises(StoreIo, match="fdatasync"):
        await house.create("w", execution=CAT)
    house.room.syncs_fail = False
    with pytest.raises(WorkerNotFound):
        house.runtime.worker("w")
    assert marked(house.runtime.runtime_id) == set()


async def test_a_worker_whose_driver_failed_is_told_to_have_ended_when_there_is_room(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.create("w", execution=CAT)
    house.room.is_full = True
    monkeypatch.setattr(TextSpeech, "turn", broken)
    with pytest.raises(StatePoisoned):
        await house.say("w", "boom")
    await until(lambda: not marked(house.runtime.runtime_id, "w"))
    house.room.is_full = False
    assert (await soon(house.events("w")))[-5:] == ["error", "released", "exit", "status", "end"]


def broken(_speech: TextSpeech) -> list[Event]:
    """A bug."""
    raise LookupError("a bug")
