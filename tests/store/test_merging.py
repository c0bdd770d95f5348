"""Several logs read as one: their union in the order of sequences, for any appends, cuts and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import CursorExpired, StoreMissing
from watchglass.protocol.frames import envelope_seq
from watchglass.store.base import READ_RECORDS_MAX, Record, Retention, Store
from watchglass.store.memory import open_memory_store
from watchglass.store.merging import Member, Merge

from support.clock import Clock
from support.stores import OPENERS, nobody, record_of, said

pytestmark = pytest.mark.asyncio


def nobody_is_gone(_member: Member) -> bool:
    return False


async def members_of(store: Store, count: int) -> list[Member]:
    workers = [
        Member(f"w{place}", await store.create(record_of(f"w{place}"), nobody)) for place in range(count)
    ]
    return [Member(None, store.runtime_log), *workers]


async def fill(members: list[Member], appends: list[tuple[int, int]]) -> list[Record]:
    written: list[Record] = []
    for place, count in appends:
        log = members[place % len(members)].log
        written += await log.append(said(*"x" * count))  # type: ignore[attr-defined]  # These are whole logs.
    return written


async def rest_of(merge: Merge) -> list[bytes]:
    taken: list[bytes] = []
    while some := await merge.take():
        assert len(some) <= READ_RECORDS_MAX
        taken += some
    return taken


APPENDS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=40)


@settings(max_examples=60)
@given(data=st.data(), appends=APPENDS)
async def test_a_merge_is_the_union_in_order_however_it_is_taken(
    data: st.DataObject, appends: list[tuple[int, int]]
) -> None:
    async with open_memory_store() as store:
        members = await members_of(store, 4)
        written = await fill(members, appends)
        places = [0, *(record.seq for record in written)]
        after, through = sorted(data.draw(st.tuples(st.sampled_from(places), st.sampled_from(places))))
        merge = Merge(members, after=Seq(after), through=Seq(through), is_gone=nobody_is_gone)
        taken: list[bytes] = []
        while some := await merge.take(
            data.draw(st.integers(1, 7)), data.draw(st.sampled_from([1, 500, 1 << 20]))
        ):
            taken += some
            assert merge.position == envelope_seq(taken[-1])
            if data.draw(st.booleans()):  # Cut, and come back with the cursor.
                merge = Merge(members, after=merge.position, through=Seq(through), is_gone=nobody_is_gone)
        assert taken == [record.line for record in written if after < record.seq <= through]


@pytest.mark.parametrize("name", OPENERS)
async def test_logs_that_were_read_from_files_come_in_order_too(name: str) -> None:
    retention = Retention(max_bytes=64 << 20)
    async with OPENERS[name](retention, Clock()) as store:
        members = await members_of(store, 5)
        written = await fill(members, [(place * 7 % 6, 1 + place % 90) for place in range(1500)])
        merge = Merge(members, after=BEGINNING, through=written[-1].seq, is_gone=nobody_is_gone)
        assert await rest_of(merge) == [record.line for record in written]


class Untouchable:
    """A log that lies wholly behind a reader: nobody may open it."""

    head, oldest, trimmed_through = Seq(5), Seq(1), BEGINNING


async def test_a_log_that_ends_before_the_position_is_never_opened() -> None:
    async with open_memory_store() as store:
        members = await members_of(store, 1)
        written = await fill(members, [(1, 3)])
        behind = Member("old", Untouchable())  # type: ignore[arg-type]  # What may be asked of it.
        merge = Merge([*members, behind], after=Seq(5), through=written[-1].seq, is_gone=nobody_is_gone)
        assert await merge.take() == [record.line for record in written]


class Later:
    """A log that begins behind what a reader takes: it waits unopened."""

    def __init__(self, first: Seq) -> None:
        self.head = self.oldest = first
        self.trimmed_through = BEGINNING


async def test_a_log_that_begins_later_is_opened_when_its_turn_comes() -> None:
    async with open_memory_store() as store:
        members = await members_of(store, 1)
        written = await fill(members, [(1, 3)])
        later = Member("later", Later(Seq(written[-1].seq + 1)))  # type: ignore[arg-type]  # As above.
        merge = Merge(
            [*members, later], after=BEGINNING, through=Seq(written[-1].seq + 9), is_gone=nobody_is_gone
        )
        assert await merge.take(3) == [record.line for record in written]


async def test_what_retention_dropped_of_any_log_is_told_with_its_name() -> None:
    async with open_memory_store(Retention(max_events=3)) as store:
        members = await members_of(store, 2)
        written = await fill(members, [(1, 1), (2, 9)])
        with pytest.raises(CursorExpired, match="worker 'w1'") as told:
            Merge(members, after=BEGINNING, through=written[-1].seq, is_gone=nobody_is_gone)
        assert told.value.worker_id == "w1"


async def test_retention_that_overtakes_a_merge_is_told_too() -> None:
    async with open_memory_store(Retention(max_events=600)) as store:
        members = await members_of(store, 1)
        first = await fill(members, [(1, 600)])
        merge = Merge(members, after=BEGINNING, through=Seq(1 << 60), is_gone=nobody_is_gone)
        assert len(await merge.take(10, 1)) < len(first)
        await fill(members, [(1, 600)] * 2)
        with pytest.raises(CursorExpired, match="worker 'w0'"):
            await rest_of(merge)


class Lost:
    """A log whose files are gone."""

    head, oldest, trimmed_through = Seq(5), Seq(1), BEGINNING

    async def read(self, **_bounds: int) -> None:
        raise StoreMissing("read", "events", "gone")


async def test_a_worker_that_left_is_passed_by_and_any_other_that_cannot_be_read_is_told_of() -> None:
    async with open_memory_store() as store:
        members = [*await members_of(store, 1), Member("lost", Lost())]  # type: ignore[arg-type]  # As above.
        written = await fill(members, [(1, 2)])
        merge = Merge(
            members,
            after=BEGINNING,
            through=written[-1].seq,
            is_gone=lambda member: member.worker_id == "lost",
        )
        assert await merge.take() == [record.line for record in written]
        merge = Merge(members, after=BEGINNING, through=written[-1].seq, is_gone=nobody_is_gone)
        with pytest.raises(StoreMissing):
            await merge.take()
