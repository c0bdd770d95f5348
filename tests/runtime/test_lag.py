"""How far behind an observer is: exact, over every store."""

from __future__ import annotations

import pytest

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.runtime.lag import Lag, lag_behind, most
from watchglass.store.base import Retention

from support.clock import Clock
from support.stores import OPENERS, OpenStore, nobody, record_of, said

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=OPENERS)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return OPENERS[request.param]


async def test_who_stands_at_the_head_is_not_behind(open_store: OpenStore) -> None:
    clock = Clock()
    async with open_store(Retention(), clock) as store:
        log = await store.create(record_of("w"), nobody)
        assert await lag_behind([log], BEGINNING, clock.now_us) == Lag()
        await log.append(said("one"))
        clock.now_us += 5_000_000
        assert await lag_behind([log], log.head, clock.now_us) == Lag()


async def test_every_event_behind_the_position_counts_and_the_oldest_tells_the_age(
    open_store: OpenStore,
) -> None:
    clock = Clock()
    async with open_store(Retention(), clock) as store:
        log = await store.create(record_of("w"), nobody)
        first = (await log.append(said("one")))[-1].seq
        clock.now_us += 2_000_000
        await log.append(said("two", "three"))
        clock.now_us += 500_000
        assert await lag_behind([log], BEGINNING, clock.now_us) == Lag(3, 2.5)
        assert await lag_behind([log], first, clock.now_us) == Lag(2, 0.5)


async def test_many_logs_count_together(open_store: OpenStore) -> None:
    clock = Clock()
    async with open_store(Retention(), clock) as store:
        logs = [await store.create(record_of(name), nobody) for name in ("a", "b", "quiet")]
        position = (await logs[0].append(said("seen")))[-1].seq
        clock.now_us += 1_000_000
        await logs[1].append(said("one"))
        clock.now_us += 1_000_000
        await logs[0].append(said("two", "three"))
        assert await lag_behind(logs, position, clock.now_us) == Lag(3, 1.0)


async def test_what_retention_dropped_is_told_and_not_counted(open_store: OpenStore) -> None:
    clock = Clock()
    async with open_store(Retention(max_events=8), clock) as store:
        log = await store.create(record_of("w"), nobody)
        for number in range(40):
            await log.append(said(str(number)))
        kept = await log.count(after=log.trimmed_through, through=log.head)
        lag = await lag_behind([log], Seq(1), clock.now_us)
        assert (lag.events, lag.overtaken) == (kept, True)
        assert not (await lag_behind([log], log.trimmed_through, clock.now_us)).overtaken


async def test_what_lies_on_the_disk_is_counted_as_exactly(open_store: OpenStore) -> None:
    clock = Clock()
    async with open_store(Retention(), clock) as store:
        log = await store.create(record_of("w"), nobody)
        records = [record for number in range(50) for record in await log.append(said(*[f"{number}"] * 400))]
        for place in (7_000, 0, 1, 399, 400, 12_345, 7_001, 0, len(records) - 1):  # Each count leaves marks.
            lag = await lag_behind([log], records[place].seq, clock.now_us)
            assert lag.events == len(records) - 1 - place


async def test_the_most_is_of_each_measure() -> None:
    assert most([]) == Lag()
    assert most([Lag(5, 1.0), Lag(2, 9.0, overtaken=True)]) == Lag(5, 9.0, overtaken=True)
