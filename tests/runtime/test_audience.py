"""Who stands at the head is served together: each event once, in order, whoever else sits there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import CursorExpired
from watchglass.runtime.audience import Audience, Audiences, Seat
from watchglass.store.base import Log, LogClosed, Retention, Run
from watchglass.store.memory import MemoryStore, open_memory_store

from support.stores import said
from support.tasks import begun, soon, until
from support.workers import worker_in


@pytest_asyncio.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with open_memory_store(Retention(max_events=100)) as opened:
        yield opened


@pytest_asyncio.fixture
async def log(store: MemoryStore) -> Log:
    return (await worker_in(store)).log


def leave(audience: Audience, *seats: Seat) -> None:
    for seat in seats:
        audience.leave(seat)


class Listener:
    """Keeps what it was given, and takes `room` runs."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.runs: list[Run] = []
        self._room = room

    @property
    def seqs(self) -> list[Seq]:
        return [record.seq for run in self.runs for record in run]

    def take(self, run: Run) -> bool:
        self.runs.append(run)
        return len(self.runs) < self._room


@pytest.mark.asyncio
async def test_all_who_sit_are_given_the_very_same_run(log: Log) -> None:
    audience = Audience(log)
    first, second = Listener(), Listener()
    seats = [audience.sit(first.take), audience.sit(second.take)]
    records = [*await log.append(said("one", "two")), *await log.append(said("three"))]
    await until(lambda: len(second.seqs) == 3)
    assert first.seqs == [record.seq for record in records]
    assert all(ours is theirs for ours, theirs in zip(first.runs, second.runs, strict=True))
    assert [audience.leave(seat) for seat in seats] == [records[-1].seq] * 2


@pytest.mark.asyncio
async def test_who_sits_down_while_events_wait_is_given_none_of_them(log: Log) -> None:
    audience = Audience(log)
    early, late = Listener(), Listener()
    before = audience.sit(early.take)
    await log.append(said("before"))
    behind = audience.sit(late.take)
    (after,) = await log.append(said("after"))
    await until(lambda: bool(late.runs))
    assert late.seqs == [after.seq]
    assert len(early.seqs) == 2
    leave(audience, before, behind)


@pytest.mark.asyncio
async def test_who_takes_no_more_is_let_go_where_it_stands(log: Log) -> None:
    audience = Audience(log)
    slow, steady = Listener(room=1), Listener()
    seat, other = audience.sit(slow.take), audience.sit(steady.take)
    (first,) = await log.append(said("one"))
    await soon(seat.left)
    (second,) = await log.append(said("two"))
    await until(lambda: len(steady.seqs) == 2)
    assert slow.seqs == [first.seq]
    assert audience.leave(seat) == first.seq < second.seq
    leave(audience, other)


@pytest.mark.asyncio
async def test_one_that_fails_is_told_and_costs_nobody_else_an_event(log: Log) -> None:
    def fails(_: Run) -> bool:
        raise ValueError("its own fault")

    audience = Audience(log)
    steady = Listener()
    broken, other = audience.sit(fails), audience.sit(steady.take)
    await log.append(said("one"))
    with pytest.raises(ValueError, match="its own fault"):
        await soon(broken.left)
    await log.append(said("two"))
    await until(lambda: len(steady.seqs) == 2)
    leave(audience, broken, other)


@pytest.mark.asyncio
async def test_the_end_of_the_log_is_told_to_all_behind_its_last_event(store: MemoryStore, log: Log) -> None:
    audience = Audience(log)
    listeners = [Listener(), Listener()]
    seats = [audience.sit(listener.take) for listener in listeners]
    await log.append(said("last"))
    await store.close()
    for seat in seats:
        with pytest.raises(LogClosed):
            await soon(seat.left)
    assert [len(listener.seqs) for listener in listeners] == [1, 1]


@pytest.mark.asyncio
async def test_retention_that_overtakes_an_audience_is_told_to_all(log: Log) -> None:
    audience = Audience(log)
    seat = audience.sit(Listener().take)
    await log.append(said(*map(str, range(200))))
    with pytest.raises(CursorExpired):
        await soon(seat.left)


@pytest.mark.asyncio
async def test_of_an_audience_that_all_have_left_nothing_is_left(log: Log) -> None:
    audiences = Audiences()
    before = asyncio.all_tasks()
    seat = audiences.of(log).sit(Listener().take)
    other = audiences.of(log).sit(Listener().take)
    for each in (seat, other, seat):
        audiences.of(log).leave(each)
        audiences.left(log)
    await begun(asyncio.sleep(0))
    await until(lambda: asyncio.all_tasks() == before)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["sit", "leave", "append", "turn", "slow"]), max_size=40))
def test_whoever_sits_is_given_the_log_from_where_it_sat_to_where_it_left(steps: list[str]) -> None:
    asyncio.run(_given_the_log(steps))


async def _given_the_log(steps: list[str]) -> None:
    async with open_memory_store() as store:
        log = (await worker_in(store)).log
        audience = Audience(log)
        seqs: list[Seq] = []
        sitting: list[tuple[Seat, Listener, Seq]] = []
        for step in steps:
            if step in ("sit", "slow"):
                listener = Listener(room=1 if step == "slow" else 1 << 30)
                sitting.append((audience.sit(listener.take), listener, log.head))
            elif step == "leave" and sitting:
                seat, listener, since = sitting.pop(0)
                through = audience.leave(seat)
                assert listener.seqs == [seq for seq in seqs if since < seq <= through]
            elif step == "append":
                seqs += [record.seq for record in await log.append(said("x", "y"))]
            elif step == "turn":
                await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        for seat, listener, since in sitting:
            through = audience.leave(seat)
            assert listener.seqs == [seq for seq in seqs if since < seq <= through]
            assert through == log.head or seat.left.done()
