"""What was asked may be refused; what has happened is written, now or when there is room again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from watchglass.protocol.cursor import BEGINNING
from watchglass.protocol.errors import StoreIo
from watchglass.protocol.events import Event
from watchglass.runtime.journal import Journal
from watchglass.store.base import Log, StreamOffsets

from support.failing import Room, open_failing_store
from support.stores import nobody, read_all, record_of

pytestmark = pytest.mark.asyncio


class Desk:
    """A journal over a log whose room may be full."""

    def __init__(self, log: Log, room: Room) -> None:
        self.log = log
        self.room = room
        self.offsets = StreamOffsets()
        self.journal = Journal(log, lambda: self.offsets)

    async def names(self) -> list[str]:
        return [orjson.loads(record.line)["payload"]["event"] for record in await read_all(self.log)]


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_failing_store() as (store, room):
        yield Desk(await store.create(record_of("w"), nobody), room)


def event(name: str) -> Event:
    return Event(name, {})


async def test_what_happened_is_written_with_the_offsets_of_that_moment(desk: Desk) -> None:
    desk.offsets = StreamOffsets(1, 2, 3)
    assert await desk.journal.tell(event("a"), event("b"))
    assert await desk.names() == ["a", "b"]
    assert desk.log.offsets == StreamOffsets(1, 2, 3)


async def test_what_happened_waits_for_room_and_keeps_its_order(desk: Desk) -> None:
    desk.room.is_full = True
    assert not await desk.journal.tell(event("a"))
    assert not await desk.journal.tell(event("b"))
    assert desk.journal.owes
    assert desk.log.head == BEGINNING
    desk.room.is_full = False
    desk.offsets = StreamOffsets(0, 7, 0)
    assert await desk.journal.settle()
    assert await desk.names() == ["a", "b"]
    assert desk.log.offsets == StreamOffsets(0, 7, 0)
    assert await desk.journal.settle()
    assert await desk.names() == ["a", "b"]


async def test_what_is_owed_goes_before_what_is_asked(desk: Desk) -> None:
    desk.room.is_full = True
    await desk.journal.tell(event("happened"))
    desk.room.is_full = False
    asked = await desk.journal.ask(event("asked"))
    assert await desk.names() == ["happened", "asked"]
    assert [record.seq for record in asked.records] == [desk.log.head]
    assert not desk.journal.owes


async def test_what_is_asked_is_refused_whole_and_its_facts_are_owed(desk: Desk) -> None:
    desk.room.is_full = True
    await desk.journal.tell(event("happened"))
    with pytest.raises(StoreIo):
        await desk.journal.ask(event("asked"), facts=[event("fact")], offsets=StreamOffsets(9, 0, 0))
    desk.room.is_full = False
    assert await desk.journal.settle()
    assert await desk.names() == ["happened", "fact"]
    assert desk.log.offsets == StreamOffsets()


async def test_a_failed_sync_is_told_and_takes_nothing_back(desk: Desk) -> None:
    desk.room.syncs_fail = True
    asked = await desk.journal.ask(event("asked"), offsets=StreamOffsets(5, 0, 0))
    assert isinstance(asked.unsynced, StoreIo)
    assert [record.seq for record in asked.records] == [desk.log.head]
    assert await desk.journal.tell(event("happened"), durable=True)
    assert await desk.names() == ["asked", "happened"]
    assert not desk.journal.owes
