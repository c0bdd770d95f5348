"""Readers of a worker's log: snapshot, backlog, live; no gap, no duplicate, loss told aloud."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import orjson
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING, SEQ_MAX, Seq, decode_cursor, encode_cursor
from watchglass.protocol.errors import (
    CursorExpired,
    CursorMalformed,
    CursorUnknown,
    ResourceLimitExceeded,
)
from watchglass.protocol.frames import Envelope
from watchglass.runtime.observation import EARLIEST, LATEST, Observation, Reader
from watchglass.runtime.worker import Worker
from watchglass.store.base import LogClosed, Record, Retention, Store
from watchglass.store.memory import MemoryStore, open_memory_store

from support.clock import Clock
from support.stores import said
from support.tasks import begun, soon
from support.workers import worker_in

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with open_memory_store(Retention(max_events=5)) as opened:
        yield opened


@pytest_asyncio.fixture
async def worker(store: Store) -> Worker:
    return await worker_in(store)


@pytest.fixture
def observation() -> Observation:
    return Observation(observers_max=10, now_us=Clock())


def envelope(line: bytes) -> Envelope:
    return Envelope.model_validate_json(line)


async def test_without_a_cursor_a_reader_starts_now(worker: Worker, observation: Observation) -> None:
    await worker.log.append(said("before"))
    for cursor in (None, LATEST):
        async with observation.join(worker, cursor) as reader:
            later = await worker.log.append(said("after"))
            assert await soon(reader.next_batch()) == later


async def test_earliest_starts_at_the_first_kept_event(worker: Worker, observation: Observation) -> None:
    async with observation.join(worker, EARLIEST) as reader:
        assert reader.position == BEGINNING
    records = await worker.log.append(said(*"abcdefgh"))
    async with observation.join(worker, EARLIEST) as reader:
        assert await soon(reader.next_batch()) == records[-5:]


async def test_a_cursor_continues_right_after_its_event(worker: Worker, observation: Observation) -> None:
    records = await worker.log.append(said(*"abcd"))
    for place, record in enumerate(records[:-1]):
        async with observation.join(worker, encode_cursor(record.seq)) as reader:
            assert await soon(reader.next_batch()) == records[place + 1 :]


async def test_the_cursor_of_the_newest_event_waits_for_the_next(
    worker: Worker, observation: Observation
) -> None:
    [record] = await worker.log.append(said("a"))
    async with observation.join(worker, encode_cursor(record.seq)) as reader:
        waiting = await begun(reader.next_batch())
        assert not waiting.done()
        later = await worker.log.append(said("b"))
        assert await soon(waiting) == later


async def test_the_snapshot_is_of_the_moment_of_the_join_and_its_cursor_is_where_to_resume(
    worker: Worker, observation: Observation
) -> None:
    first, second = await worker.log.append(said("one ", "two"))
    async with observation.join(worker, encode_cursor(first.seq)) as reader:
        await worker.log.append(said(" three"))
        snapshot = envelope(reader.snapshot)
    assert snapshot.cursor == encode_cursor(first.seq)
    assert snapshot.event_id == f"snapshot:{encode_cursor(first.seq)}"
    assert snapshot.payload.event == "snapshot"
    assert snapshot.payload.data["as_of"] == encode_cursor(second.seq)
    assert snapshot.payload.data["in_flight"] == {"text": "one two"}
    assert reader.as_of == second.seq


async def test_what_is_in_the_snapshot_and_what_comes_after_it_is_everything_once(
    worker: Worker, observation: Observation
) -> None:
    await worker.log.append(said("one "))
    async with observation.join(worker, None) as reader:
        await worker.log.append(said("two"))
        [live] = await soon(reader.next_batch())
        shown = envelope(reader.snapshot).payload.data["in_flight"]["text"]
    assert shown + envelope(live.line).payload.data["text"] == "one two"


@pytest.mark.parametrize("cursor", ["", "x", "wo_1", "earliest ", "LATEST"])
async def test_a_malformed_cursor_is_refused(worker: Worker, observation: Observation, cursor: str) -> None:
    with pytest.raises(CursorMalformed):
        async with observation.join(worker, cursor):
            pass


async def refusal(observation: Observation, worker: Worker, seq: int) -> str:
    """Why a cursor cannot be resumed from; the text names it, the oldest and the newest."""
    with pytest.raises(CursorUnknown) as refused:
        async with observation.join(worker, encode_cursor(seq)):
            pass
    for named in (seq, worker.log.oldest, worker.log.head):
        assert encode_cursor(named) in str(refused.value)
    return refused.value.reason


async def test_each_cursor_that_cannot_be_resumed_from_is_told_why(
    store: Store, worker: Worker, observation: Observation
) -> None:
    foreign = await (await worker_in(store, "other")).log.append(said("theirs"))
    records = await worker.log.append(said(*"abcdefgh"))
    older = "is older than what retention keeps of this worker"
    assert await refusal(observation, worker, SEQ_MAX) == "lies ahead of this worker's newest event"
    assert await refusal(observation, worker, records[0].seq) == older
    assert await refusal(observation, worker, BEGINNING) == older
    assert await refusal(observation, worker, foreign[0].seq) == older
    [later] = await (await worker_in(store, "later")).log.append(said("theirs"))
    await worker.log.append(said("mine"))
    assert await refusal(observation, worker, later.seq) == "is no event of this worker"


async def test_the_cursor_of_the_newest_dropped_event_misses_nothing(
    worker: Worker, observation: Observation
) -> None:
    records = await worker.log.append(said(*"abcdefgh"))
    async with observation.join(worker, encode_cursor(worker.log.trimmed_through)) as reader:
        assert await soon(reader.next_batch()) == records[-5:]


async def test_a_loop_that_is_left_and_entered_again_goes_on_with_the_next_event(
    worker: Worker, observation: Observation
) -> None:
    records = await worker.log.append(said(*"abc"))
    taken: list[Record] = []
    async with observation.join(worker, EARLIEST) as reader:
        for _ in records:
            async for record in reader:
                taken.append(record)
                break
    assert taken == list(records)


async def test_a_reader_overtaken_by_retention_is_told_never_moved_on(
    worker: Worker, observation: Observation
) -> None:
    async with observation.join(worker, None) as reader:
        await worker.log.append(said(*"abcdefgh"))
        for _ in range(2):
            with pytest.raises(CursorExpired):
                await soon(reader.next_batch())
        assert reader.position == BEGINNING


async def test_a_reader_takes_all_that_is_there_before_it_hears_of_the_end(
    store: Store, worker: Worker, observation: Observation
) -> None:
    async with observation.join(worker, None) as reader:
        records = await worker.log.append(said("a", "b"))
        await store.close()
        taken: list[Record] = []
        taken += await soon(reader.next_batch())
        with pytest.raises(LogClosed) as told:
            await soon(reader.next_batch())
        assert taken == records
        assert not told.value.removed


async def test_a_slow_reader_costs_the_others_nothing(worker: Worker, observation: Observation) -> None:
    async with observation.join(worker, None) as slow, observation.join(worker, None) as quick:
        taken: list[Record] = []
        for text in "abcdefgh":
            records = await worker.log.append(said(text))
            taken += await soon(quick.next_batch())
            assert taken[-1:] == records
        with pytest.raises(CursorExpired):
            await soon(slow.next_batch())


async def test_observers_are_counted_while_they_watch(worker: Worker, observation: Observation) -> None:
    async with observation.join(worker, None), observation.join(worker, None):
        assert observation.observer_count == 2
    assert observation.observer_count == 0
    with pytest.raises(CursorMalformed):
        async with observation.join(worker, "x"):
            pass
    assert observation.observer_count == 0


async def test_one_observer_too_many_is_refused_with_the_bound(worker: Worker) -> None:
    observation = Observation(observers_max=2, now_us=Clock())
    async with observation.join(worker, None), observation.join(worker, None):
        with pytest.raises(ResourceLimitExceeded, match="there are 2 observers already"):
            async with observation.join(worker, None):
                pass
    async with observation.join(worker, None):
        pass


class Patient:
    """A worker's log whose `holds` waits, as one on a disk does."""

    def __init__(self, worker: Worker) -> None:
        self._log = worker.log
        self.go_on = asyncio.Event()
        self.head, self.oldest, self.trimmed_through = worker.log.head, worker.log.oldest, BEGINNING

    async def holds(self, seq: Seq) -> bool:
        await self.go_on.wait()
        return await self._log.holds(seq)


async def test_those_who_are_still_joining_count_against_the_bound(worker: Worker) -> None:
    observation = Observation(observers_max=1, now_us=Clock())
    [record] = await worker.log.append(said("a"))
    patient = Patient(worker)
    worker.log = patient  # type: ignore[assignment]  # What a join needs of a log.

    async def join() -> None:
        async with observation.join(worker, encode_cursor(record.seq)):
            pass

    first = await begun(join())
    with pytest.raises(ResourceLimitExceeded):
        await soon(join())
    patient.go_on.set()
    await soon(first)


# Any interleaving.


class Observer:
    """Somebody who watches, is cut off, and comes back; it checks what it is owed."""

    def __init__(self, observation: Observation, worker: Worker, everything: list[Record]) -> None:
        self._observation = observation
        self._worker = worker
        self._everything = everything  # The model: all that was ever appended.
        self._connection = AsyncExitStack()
        self._stream: AsyncIterator[Record] | None = None
        self._start = BEGINNING
        self._got: list[Record] = []

    @property
    def _last(self) -> Seq:
        return self._got[-1].seq if self._got else self._start

    async def join(self, cursor: str | None) -> None:
        """Come anew, from a cursor that may be too old."""
        await self.cut()
        self._got = []
        try:
            reader = await self._connection.enter_async_context(self._observation.join(self._worker, cursor))
        except CursorUnknown:
            assert decode_cursor(cursor or "") < self._worker.log.trimmed_through
            return
        if cursor is None:
            assert reader.position == self._worker.log.head
        elif cursor == EARLIEST:
            assert reader.position == self._worker.log.trimmed_through
        else:
            assert encode_cursor(reader.position) == cursor
        self._start = reader.position
        self._stream = aiter(reader)

    async def cut(self) -> None:
        self._stream = None
        await self._connection.aclose()

    async def resume(self) -> None:
        """Come back with the cursor of the last event."""
        got, start = self._got, self._start
        await self.join(encode_cursor(self._last))
        if self._stream is not None:
            self._got, self._start = got, start
        self.check()

    async def take(self, count: int) -> None:
        """As many events as are there, at most `count`."""
        while self._stream is not None and count and self._last < self._worker.log.head:
            count -= 1
            try:
                self._got.append(await soon(anext(self._stream)))
            except CursorExpired:
                assert self._last < self._worker.log.trimmed_through
                await self.cut()
        self.check()

    def check(self) -> None:
        owed = [record for record in self._everything if self._start < record.seq <= self._last]
        assert self._got == owed


STEPS = ["append", "append", "join", "cut", "resume", "take", "take", "take"]


@settings(max_examples=150)
@given(data=st.data(), max_events=st.integers(1, 12))
async def test_every_interleaving_of_append_join_cut_and_resume_gives_the_log(
    data: st.DataObject, max_events: int
) -> None:
    async with open_memory_store(Retention(max_events=max_events)) as store:
        worker, neighbour = await worker_in(store), await worker_in(store, "neighbour")
        everything: list[Record] = []
        observation = Observation(observers_max=10, now_us=Clock())
        observers = [Observer(observation, worker, everything) for _ in range(2)]
        for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=25)):
            observer = data.draw(st.sampled_from(observers))
            if step == "append":
                await neighbour.log.append(said("foreign"))
                everything += await worker.log.append(said(*"x" * data.draw(st.integers(1, 5))))
            elif step == "join":
                earlier = [encode_cursor(record.seq) for record in everything]
                await observer.join(data.draw(st.sampled_from([None, EARLIEST, *earlier])))
            elif step == "cut":
                await observer.cut()
            elif step == "resume":
                await observer.resume()
            else:
                await observer.take(data.draw(st.integers(1, 8)))
        for observer in observers:
            await observer.take(1000)
            await observer.cut()
        assert observation.observer_count == 0


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 12))
async def test_readers_that_wait_while_others_write_get_the_log(batches: list[int], joined_at: int) -> None:
    async with open_memory_store() as store:
        worker = await worker_in(store)
        observation = Observation(observers_max=10, now_us=Clock())

        async def watch(reader: Reader) -> list[Record]:
            taken: list[Record] = []
            while not taken or orjson.loads(taken[-1].line)["payload"]["data"]["text"] != "end":
                taken += await reader.next_batch()
            return taken

        written: list[Record] = []
        async with AsyncExitStack() as stack:
            early = await stack.enter_async_context(observation.join(worker, EARLIEST))
            watching = [(0, asyncio.create_task(watch(early)))]
            for number, count in enumerate(batches):
                if number == joined_at:
                    late = await stack.enter_async_context(observation.join(worker, None))
                    watching.append((len(written), asyncio.create_task(watch(late))))
                written += await worker.log.append(said(*"x" * count))
                await asyncio.sleep(0)
            written += await worker.log.append(said("end"))
            for start, watcher in watching:
                assert await soon(watcher) == written[start:]
