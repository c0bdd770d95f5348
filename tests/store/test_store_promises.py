"""What `store/base.py` promises, run against every store."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired, InvalidRequest, StoreIo, WorkerExists, WorkerNotFound
from watchglass.protocol.events import Event
from watchglass.protocol.lifecycle import Wanted
from watchglass.protocol.ready_frames import ready_frames
from watchglass.store.base import Log, LogClosed, Record, Retention, Store, StreamOffsets
from watchglass.store.incoming import make_incoming, remove_tree
from watchglass.store.memory import open_memory_store

from support.clock import Clock
from support.stores import OPENERS, OpenStore, nobody, read_all, record_of, said
from support.tasks import begun, soon

pytestmark = pytest.mark.asyncio
ROOMY = Retention()


@pytest.fixture(params=OPENERS)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return OPENERS[request.param]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(open_store: OpenStore, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(ROOMY, clock) as opened:
        yield opened


@pytest_asyncio.fixture
async def log(store: Store) -> Log:
    return await store.create(record_of("w"), nobody)


def texts_of(records: Sequence[Record]) -> list[str]:
    return [orjson.loads(record.line)["payload"]["data"]["text"] for record in records]


# Sequences.


async def test_a_fresh_log_has_nothing(log: Log) -> None:
    assert (log.head, log.oldest, log.trimmed_through) == (BEGINNING, BEGINNING, BEGINNING)
    assert await log.read(after=BEGINNING) == []
    assert not await log.holds(BEGINNING)


async def test_sequences_are_runtime_wide_and_grow_across_all_logs(store: Store) -> None:
    logs = [await store.create(record_of(name), nobody) for name in ("a", "b")] + [store.runtime_log]
    given_out: list[int] = []
    for log in logs * 3:
        given_out += [record.seq for record in await log.append(said("x", "y"))]
    assert given_out == sorted(set(given_out))


@pytest.mark.parametrize("step_us", [0, 1, -1, -1_000_000_000, 1_000_000])
async def test_sequences_grow_when_the_clock_stands_still_or_goes_back(
    log: Log, clock: Clock, step_us: int
) -> None:
    given_out: list[int] = []
    for _ in range(5):
        given_out += [record.seq for record in await log.append(said("x", "y"))]
        clock.now_us += step_us
    assert given_out == sorted(set(given_out))
    assert [record.seq for record in await read_all(log)] == given_out


# Append.


async def test_append_returns_the_records_that_readers_get(log: Log) -> None:
    appended = await log.append(said("one", "two"))
    assert await log.read(after=BEGINNING) == appended
    assert texts_of(appended) == ["one", "two"]
    assert log.head == appended[-1].seq
    assert log.oldest == appended[0].seq


async def test_a_line_is_the_envelope_that_observers_receive(log: Log) -> None:
    [record] = await log.append(said("hi"))
    envelope = orjson.loads(record.line)
    assert envelope["cursor"] == envelope["event_id"] == encode_cursor(record.seq)
    assert envelope["worker_id"] == "w"
    assert envelope["payload"] == {"event": "text_delta", "data": {"text": "hi"}}
    assert b"\n" not in record.line


async def test_a_line_never_changes(log: Log) -> None:
    data = {"text": "as it was"}
    [record] = await log.append([Event("text_delta", data)])
    data["text"] = "changed by its producer"
    await log.append(said("more"))
    assert (await log.read(after=BEGINNING))[0] == record


@pytest.mark.parametrize("durable", [False, True])
async def test_append_writes_all_events_or_none(store: Store, *, durable: bool) -> None:
    seen: list[Record] = []
    log = await store.create(record_of("w"), lambda records, _events: seen.extend(records))
    before = await log.append(said("before"), durable=durable)
    with pytest.raises(InvalidRequest, match="event 'bad'"):
        await log.append([*said("x"), Event("bad", {"s": "\ud800"}), *said("y")], durable=durable)
    assert log.head == before[0].seq
    assert await log.read(after=BEGINNING) == before
    assert seen == before
    [after] = await log.append(said("after"), durable=durable)
    assert texts_of(await log.read(after=before[0].seq)) == ["after"]
    assert seen == [*before, after]


async def test_on_visible_is_called_in_the_step_in_which_events_become_visible(store: Store) -> None:
    happened: list[str] = []

    def on_visible(records: Sequence[Record], events: Sequence[Event]) -> None:
        assert watched.head == records[-1].seq
        happened.extend(f"seen {event.data['text']}" for event in events)

    watched = await store.create(record_of("w"), on_visible)

    async def wait_and_read() -> None:
        await watched.wait(after=BEGINNING)
        happened.extend(f"read {text}" for text in texts_of(await watched.read(after=BEGINNING)))

    reader = await begun(wait_and_read())
    await watched.append(said("one", "two"))
    await soon(reader)
    assert happened == ["seen one", "seen two", "read one", "read two"]


async def test_on_visible_gets_the_events_as_they_were_given_beside_their_records(store: Store) -> None:
    calls: list[tuple[Sequence[Record], Sequence[Event]]] = []
    log = await store.create(record_of("w"), lambda *seen: calls.append(seen))
    events = said("one", "two")
    records = await log.append(events)
    assert calls == [(records, events)]


async def test_an_append_is_visible_to_everybody_at_once_and_whole(log: Log) -> None:
    async def wait_and_read() -> list[str]:
        await log.wait(after=BEGINNING)
        return texts_of(await log.read(after=BEGINNING))

    readers = [await begun(wait_and_read()) for _ in range(3)]
    await log.append(said("a", "b", "c"))
    assert [await soon(reader) for reader in readers] == [["a", "b", "c"]] * 3


# Read.


async def test_a_reader_gets_every_record_after_its_position_in_order_once(log: Log) -> None:
    records = await log.append(said(*"abcdefghij"))
    for place, record in enumerate(records):
        assert await log.read(after=record.seq) == records[place + 1 :]


async def test_a_position_between_two_records_is_a_position(log: Log, clock: Clock) -> None:
    [first] = await log.append(said("a"))
    clock.now_us += 1000
    [second] = await log.append(said("b"))
    assert await log.read(after=Seq(first.seq + 1)) == [second]
    assert not await log.holds(Seq(first.seq + 1))


async def test_a_position_ahead_of_the_head_reads_nothing(log: Log) -> None:
    [record] = await log.append(said("a"))
    assert await log.read(after=Seq(record.seq + 5)) == []


async def test_a_read_is_bounded_by_records(log: Log) -> None:
    records = await log.append(said(*"abcde"))
    assert await log.read(after=BEGINNING, max_records=2) == records[:2]
    assert await log.read(after=records[1].seq, max_records=2) == records[2:4]


async def test_a_read_is_bounded_by_bytes(log: Log) -> None:
    records = await log.append(said(*"abcde"))
    size_bytes = len(records[0].line)
    assert await log.read(after=BEGINNING, max_bytes=3 * size_bytes) == records[:3]
    assert await log.read(after=BEGINNING, max_bytes=3 * size_bytes - 1) == records[:2]


async def test_a_read_gives_at_least_one_record_however_large(log: Log) -> None:
    records = await log.append(said("x" * 1000, "y"))
    assert await log.read(after=BEGINNING, max_bytes=1) == records[:1]


async def test_without_bounds_a_read_gives_what_one_batch_holds(log: Log) -> None:
    records = await log.append(said(*["x" * 100] * 1500))
    assert 1 < len(await log.read(after=BEGINNING)) < len(records)
    assert await read_all(log) == records


async def test_a_read_gives_the_very_lines_and_the_frames_of_its_records(log: Log) -> None:
    records = await log.append(said(*["x" * size for size in range(0, 90_000, 9_000)]))
    after = BEGINNING
    lines: list[bytes] = []
    frames = b""
    while run := await log.read(after=after):
        assert run.last == run[-1].seq > after
        after = run.last
        lines += run.lines
        frames += run.frames()
    assert lines == [record.line for record in records]
    assert frames == ready_frames(lines)


async def test_what_a_read_gave_stays_as_it_was(log: Log) -> None:
    records = await log.append(said("a", "b"))
    run = await log.read(after=BEGINNING)
    await log.append(said("c"))
    assert run == records


async def test_a_log_holds_its_records_and_nothing_else(store: Store, log: Log) -> None:
    other = await store.create(record_of("other"), nobody)
    [mine] = await log.append(said("a"))
    [foreign] = await other.append(said("b"))
    assert await log.holds(mine.seq)
    assert not await log.holds(foreign.seq)
    assert not await log.holds(Seq(mine.seq - 1))


async def test_reading_one_log_never_shows_another_s_events(store: Store, log: Log) -> None:
    other = await store.create(record_of("other"), nobody)
    for text in "abc":
        await other.append(said(text.upper()))
        await log.append(said(text))
    assert texts_of(await log.read(after=BEGINNING)) == ["a", "b", "c"]
    assert texts_of(await other.read(after=BEGINNING)) == ["A", "B", "C"]
    assert await store.runtime_log.read(after=BEGINNING) == []


# Offsets.


async def test_a_fresh_log_accounts_for_nothing(log: Log) -> None:
    assert log.offsets == StreamOffsets(0, 0, 0)


async def test_the_newest_offsets_stand_until_an_append_brings_others(log: Log) -> None:
    await log.append(said("a"), offsets=StreamOffsets(1, 20, 3))
    await log.append(said("b"))
    assert log.offsets == StreamOffsets(1, 20, 3)
    await log.append(said("c"), offsets=StreamOffsets(1, 25, 3), durable=True)
    assert log.offsets == StreamOffsets(1, 25, 3)


async def test_a_refused_append_leaves_the_offsets_as_they_were(log: Log) -> None:
    with pytest.raises(InvalidRequest):
        await log.append([Event("bad", {"s": "\ud800"})], offsets=StreamOffsets(9, 9, 9))
    assert log.offsets == StreamOffsets(0, 0, 0)


# Retention.


async def test_a_log_is_bounded_by_count(open_store: OpenStore, clock: Clock) -> None:
    async with open_store(Retention(max_events=3), clock) as store:
        log = await store.create(record_of("w"), nobody)
        records = [record for text in "abcdefgh" for record in await log.append(said(text))]
        kept = await log.read(after=log.trimmed_through)
        assert 1 <= len(kept) <= 3
        assert kept == records[-len(kept) :]


async def test_a_log_is_bounded_by_bytes(open_store: OpenStore, clock: Clock) -> None:
    async with open_store(Retention(max_bytes=1000), clock) as store:
        log = await store.create(record_of("w"), nobody)
        records = [record for size in range(40) for record in await log.append(said("x" * size))]
        kept = await log.read(after=log.trimmed_through)
        assert sum(len(record.line) for record in kept) <= 1000
        assert kept
        assert kept == records[-len(kept) :]


async def test_the_newest_event_is_kept_however_large(open_store: OpenStore, clock: Clock) -> None:
    async with open_store(Retention(max_bytes=100, max_events=1), clock) as store:
        log = await store.create(record_of("w"), nobody)
        await log.append(said("a"))
        [newest] = await log.append(said("x" * 10_000))
        assert await log.read(after=log.trimmed_through) == [newest]
        assert log.oldest == log.head == newest.seq


async def test_a_reader_at_trimmed_through_misses_nothing_and_one_before_it_is_told(
    open_store: OpenStore, clock: Clock
) -> None:
    async with open_store(Retention(max_events=3), clock) as store:
        log = await store.create(record_of("w"), nobody)
        records = [record for text in "abcdefgh" for record in await log.append(said(text))]
        assert log.trimmed_through in {record.seq for record in records}
        kept = [record for record in records if record.seq > log.trimmed_through]
        assert await log.read(after=log.trimmed_through) == kept
        assert log.oldest == kept[0].seq
        with pytest.raises(CursorExpired) as refused:
            await log.read(after=Seq(log.trimmed_through - 1))
        asked, oldest, newest = refused.value.asked, refused.value.oldest, refused.value.newest
        assert asked == encode_cursor(log.trimmed_through - 1)
        assert (oldest, newest) == (encode_cursor(log.oldest), encode_cursor(log.head))


async def test_a_dropped_event_is_not_held(open_store: OpenStore, clock: Clock) -> None:
    async with open_store(Retention(max_events=1), clock) as store:
        log = await store.create(record_of("w"), nobody)
        [dropped] = await log.append(said("a"))
        [kept] = await log.append(said("b"))
        assert [await log.holds(record.seq) for record in (dropped, kept)] == [False, True]


async def test_a_chatty_log_expires_nobody_else_s_events(open_store: OpenStore, clock: Clock) -> None:
    async with open_store(Retention(max_events=5, max_bytes=2000), clock) as store:
        quiet = await store.create(record_of("quiet"), nobody)
        chatty = await store.create(record_of("chatty"), nobody)
        records = await quiet.append(said("a", "b"))
        announced = await store.runtime_log.append(said("started"))
        for _ in range(100):
            await chatty.append(said("x" * 500, "y"))
        assert chatty.trimmed_through > BEGINNING
        assert await quiet.read(after=BEGINNING) == records
        assert await store.runtime_log.read(after=BEGINNING) == announced


async def test_a_log_that_was_trimmed_ten_thousand_times_still_reads_right(
    open_store: OpenStore, clock: Clock
) -> None:
    async with open_store(Retention(max_events=10), clock) as store:
        log = await store.create(record_of("w"), nobody)
        records: list[Record] = []
        for _ in range(100):
            records += await log.append(said(*["x"] * 100))
        kept = await log.read(after=log.trimmed_through)
        assert kept == records[-len(kept) :]
        assert await log.holds(log.oldest)
        assert not await log.holds(log.trimmed_through)


# Waiting.


async def test_wait_returns_at_once_when_something_is_there(log: Log) -> None:
    await log.append(said("a"))
    await soon(log.wait(after=BEGINNING))


async def test_an_append_wakes_everybody_who_waits(log: Log) -> None:
    [record] = await log.append(said("a"))
    waiters = [await begun(log.wait(after=record.seq)) for _ in range(5)]
    assert not any(waiter.done() for waiter in waiters)
    await log.append(said("b"))
    await soon(asyncio.gather(*waiters))


async def test_a_wait_after_a_position_ahead_is_not_over_before_the_head_passes_it(
    log: Log, clock: Clock
) -> None:
    [record] = await log.append(said("a"))
    waiter = await begun(log.wait(after=Seq(record.seq + 1)))
    await log.append(said("b"))
    await asyncio.sleep(0)
    assert not waiter.done()
    await log.append(said("c"))
    await soon(waiter)


async def test_a_cancelled_wait_leaves_the_others_waiting(log: Log) -> None:
    leaving, staying = await begun(log.wait(after=BEGINNING)), await begun(log.wait(after=BEGINNING))
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    assert leaving.cancelled()
    await log.append(said("a"))
    await soon(staying)


async def test_closing_the_store_tells_a_reader_that_has_everything(store: Store, log: Log) -> None:
    waiting = [await begun(each.wait(after=BEGINNING)) for each in (log, store.runtime_log)]
    await store.close()
    for waiter in waiting:
        with pytest.raises(LogClosed) as told:
            await soon(waiter)
        assert not told.value.removed


async def test_a_reader_that_has_not_everything_reads_on_after_the_close(store: Store, log: Log) -> None:
    records = await log.append(said("a", "b"))
    await store.close()
    await soon(log.wait(after=records[0].seq))
    assert await log.read(after=records[0].seq) == records[1:]
    with pytest.raises(LogClosed):
        await soon(log.wait(after=records[1].seq))


async def test_deleting_a_worker_tells_its_readers_that_it_is_gone(store: Store, log: Log) -> None:
    waiter = await begun(log.wait(after=BEGINNING))
    await store.delete("w")
    with pytest.raises(LogClosed) as told:
        await soon(waiter)
    assert told.value.removed


async def test_deleting_one_worker_leaves_the_others_alone(store: Store, log: Log) -> None:
    other = await store.create(record_of("other"), nobody)
    waiter = await begun(other.wait(after=BEGINNING))
    await store.delete("w")
    await other.append(said("a"))
    await soon(waiter)
    assert [record.worker_id for record in await store.load()] == ["other"]


# Records and folders.


async def test_the_catalog_s_records_come_back_in_order_of_creation(store: Store) -> None:
    kept = [record_of(name, created_us) for created_us, name in enumerate("zax")]
    for record in kept:
        await store.create(record, nobody)
    assert list(await store.load()) == kept


async def test_a_saved_record_replaces_the_older_one_in_its_place(store: Store) -> None:
    first, second = record_of("a", 1), record_of("b", 2)
    for record in (first, second):
        await store.create(record, nobody)
    changed = first.model_copy(update={"wanted": Wanted.DOWN})
    await store.save(changed)
    assert list(await store.load()) == [changed, second]


async def test_a_record_that_nobody_waits_for_is_saved_as_well(store: Store) -> None:
    await store.create(record_of("a"), nobody)
    changed = record_of("a").model_copy(update={"wanted": Wanted.DOWN})
    await store.save(changed, durable=False)
    assert list(await store.load()) == [changed]


async def test_a_new_worker_s_folder_holds_what_was_put_beside_its_record(store: Store) -> None:
    await store.create(record_of("a"), nobody, beside={"terms.json": b"{}", "empty": b""})
    directory = store.directory("a")
    assert ((directory / "terms.json").read_bytes(), (directory / "empty").read_bytes()) == (b"{}", b"")
    assert (directory / "terms.json").stat().st_mode & 0o777 == 0o600


async def test_a_worker_of_the_catalog_is_opened_with_its_log(store: Store, log: Log) -> None:
    before = await log.append(said("a"))
    seen: list[Record] = []
    opened = await store.open("w", lambda records, _events: seen.extend(records))
    assert await read_all(opened) == before
    assert seen == []
    after = await opened.append(said("b"))
    assert seen == after
    with pytest.raises(WorkerNotFound):
        await store.open("unknown", nobody)


async def test_a_view_s_state_is_kept_until_a_newer_one_comes(store: Store, log: Log) -> None:
    assert await store.load_view("w") is None
    for state in (b"older", b"newer"):
        await store.save_view("w", state)
    assert await store.load_view("w") == b"newer"


async def test_a_taken_id_is_refused_and_its_worker_stays(store: Store, log: Log) -> None:
    records = await log.append(said("a"))
    with pytest.raises(WorkerExists, match="'w'"):
        await store.create(record_of("w", 99), nobody)
    assert [record.created_us for record in await store.load()] == [1]
    assert await log.read(after=BEGINNING) == records


async def test_a_worker_has_a_folder_of_its_own_that_nobody_else_may_read(store: Store) -> None:
    for name in ("a", "b"):
        await store.create(record_of(name), nobody)
        assert stat.S_IMODE(store.directory(name).stat().st_mode) == 0o700
    assert store.directory("a") != store.directory("b")


async def test_a_deleted_worker_leaves_no_record_and_no_file(store: Store, log: Log) -> None:
    (store.directory("w") / "workspace").mkdir()
    (store.directory("w") / "workspace" / "file").write_text("x")
    await store.delete("w")
    assert await store.load() == []
    assert not store.directory("w").exists()


async def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    await store.delete("nobody")


async def test_an_id_may_be_used_again_after_its_worker_is_deleted(store: Store, log: Log) -> None:
    old = await log.append(said("old"))
    await store.delete("w")
    again = await store.create(record_of("w", 2), nobody)
    assert again.head == BEGINNING
    [new] = await again.append(said("new"))
    assert new.seq > old[0].seq


async def test_an_id_may_be_used_again_while_its_old_files_are_still_being_removed(
    store: Store, log: Log
) -> None:
    for number in range(50):
        (store.directory("w") / f"file-{number}").write_text("x")
    deleting = await begun(store.delete("w"))
    await store.create(record_of("w", 2), nobody)
    (store.directory("w") / "mine").write_text("new")
    await soon(deleting)
    names = {path.name for path in store.directory("w").iterdir()}
    assert "mine" in names
    assert not any(name.startswith("file-") for name in names)


async def test_check_proves_that_the_store_takes_writes(store: Store) -> None:
    await store.check()
    await store.check()


# Workers that come from elsewhere.


async def elsewhere(*texts: str, worker_id: str = "came") -> list[Record]:
    """What another store numbered."""
    async with open_memory_store(ROOMY, Clock(500)) as other:
        log = await other.create(record_of(worker_id), nobody)
        return [record for text in texts for record in await log.append(said(text))]


async def receive(store: Store, records: Iterable[Record], trimmed_through: int = 0, **more: Any) -> None:
    """Let a worker `came` arrive with a file `stdout.log`."""
    incoming = make_incoming(store.path)
    try:
        files = incoming / "files"
        files.mkdir(mode=0o700)
        (files / "stdout.log").write_bytes(b"said")
        given = {"view": None, **more}
        record = given.pop("record", record_of("came"))
        await store.receive(record, records, trimmed_through=Seq(trimmed_through), files=files, **given)
    finally:
        remove_tree(incoming)


async def test_a_worker_from_elsewhere_is_there_as_it_was(store: Store) -> None:
    records = await elsewhere("one", "two", "three")
    await receive(store, iter(records), view=b"seen")
    assert list(await store.load()) == [record_of("came")]
    log = await store.open("came", nobody)
    assert (log.head, log.oldest, log.trimmed_through) == (records[-1].seq, records[0].seq, BEGINNING)
    assert await read_all(log) == records
    assert await log.read(after=records[0].seq) == records[1:]
    assert await log.holds(records[1].seq)
    assert await store.load_view("came") == b"seen"
    assert (store.directory("came") / "stdout.log").read_bytes() == b"said"
    assert stat.S_IMODE(store.directory("came").stat().st_mode) == 0o700
    assert list(store.path.glob("incoming-*")) == []


async def test_what_is_numbered_later_lies_behind_what_came(store: Store, clock: Clock) -> None:
    ahead = Clock(clock.now_us + 10_000_000_000)
    async with open_memory_store(ROOMY, ahead) as other:
        records = await (await other.create(record_of("came"), nobody)).append(said("from the future"))
    await receive(store, records)
    for log in (store.runtime_log, await store.create(record_of("mine", 2), nobody)):
        for record in await log.append(said("a", "b"), durable=True):
            assert record.seq > records[-1].seq


async def test_what_retention_had_dropped_elsewhere_is_dropped_here(store: Store) -> None:
    records = await elsewhere("one", "two", "three")
    await receive(store, records[1:], records[0].seq)
    log = await store.open("came", nobody)
    assert (log.oldest, log.trimmed_through) == (records[1].seq, records[0].seq)
    assert await read_all(log, after=records[0].seq) == records[1:]
    with pytest.raises(CursorExpired):
        await log.read(after=BEGINNING)


async def test_this_store_s_retention_holds_for_what_comes(open_store: OpenStore, clock: Clock) -> None:
    records = await elsewhere(*"abcdefgh")
    async with open_store(Retention(max_events=3), clock) as store:
        await receive(store, records)
        log = await store.open("came", nobody)
        kept = await read_all(log, after=log.trimmed_through)
        assert 1 <= len(kept) <= 3
        assert kept == records[-len(kept) :]
        assert log.trimmed_through == records[-len(kept) - 1].seq


async def test_a_long_log_comes_whole(store: Store) -> None:
    records = await elsewhere(*["x" * 2000] * 1500)
    await receive(store, records)
    assert await read_all(await store.open("came", nobody)) == records


async def test_a_worker_whose_id_is_taken_does_not_come(store: Store) -> None:
    mine = await (await store.create(record_of("came", 7), nobody)).append(said("mine"))
    with pytest.raises(WorkerExists, match="'came'"):
        await receive(store, await elsewhere("a"))
    assert [record.created_us for record in await store.load()] == [7]
    assert await read_all(await store.open("came", nobody)) == mine
    assert not (store.directory("came") / "stdout.log").exists()


async def test_records_that_cannot_be_read_leave_nothing(store: Store) -> None:
    def broken() -> Iterator[Record]:
        yield Record(Seq(501), b'{"cursor":"wo_00000000000001f5"}')
        raise OSError(5, "Input/output error")

    with pytest.raises(StoreIo, match="Input/output error"):
        await receive(store, broken())
    assert await store.load() == []
    assert not store.directory("came").exists()
    with pytest.raises(WorkerNotFound):
        await store.open("came", nobody)
    await store.create(record_of("came"), nobody)


async def test_a_worker_that_came_can_be_deleted_and_come_again(store: Store) -> None:
    records = await elsewhere("a", "b")
    for _ in range(2):
        await receive(store, records)
        assert await read_all(await store.open("came", nobody)) == records
        await store.delete("came")
        assert not store.directory("came").exists()


# All of it, at random.


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(data=st.data(), max_events=st.integers(1, 6), max_bytes=st.integers(1, 2000))
async def test_any_operations_give_what_a_plain_list_of_all_appends_gives(
    open_store: OpenStore, data: st.DataObject, max_events: int, max_bytes: int
) -> None:
    clock = Clock(1000)
    async with open_store(Retention(max_events=max_events, max_bytes=max_bytes), clock) as store:
        await operate(store, clock, data)


async def operate(store: Store, clock: Clock, data: st.DataObject) -> None:
    """Random appends and reads; the model is every record ever appended."""
    logs = [store.runtime_log, await store.create(record_of("a"), nobody)]
    model: list[list[Record]] = [[] for _ in logs]
    for _ in range(data.draw(st.integers(1, 15))):
        which = data.draw(st.integers(0, len(logs) - 1))
        log, appended = logs[which], model[which]
        if data.draw(st.booleans()):
            clock.now_us += data.draw(st.integers(-50, 50))
            sizes = data.draw(st.lists(st.integers(0, 300), min_size=1, max_size=4))
            appended += await log.append(said(*("x" * size for size in sizes)))
        await agree(log, appended, data)
    everything = [record.seq for records in model for record in records]
    assert len(set(everything)) == len(everything)


async def agree(log: Log, appended: list[Record], data: st.DataObject) -> None:
    """What the log shows is what the model says, from a random position."""
    kept = [record for record in appended if record.seq > log.trimmed_through]
    assert (log.head, log.oldest) == ((kept[-1].seq, kept[0].seq) if kept else (BEGINNING, BEGINNING))
    positions = [0, *(record.seq + step for record in appended for step in (-1, 0))]
    position = data.draw(st.sampled_from(positions))
    assert await log.holds(Seq(position)) == (position in {record.seq for record in kept})
    if position < log.trimmed_through:
        with pytest.raises(CursorExpired):
            await log.read(after=Seq(position))
        with pytest.raises(CursorExpired):
            await log.count(after=Seq(position), through=log.head)
        return
    count = data.draw(st.integers(1, 5))
    after = [record for record in kept if record.seq > position]
    assert await log.read(after=Seq(position), max_records=count) == after[:count]
    assert await read_all(log, after=position) == after
    await agree_on_counts(log, kept, Seq(position), data.draw(st.integers(0, 8)))


async def agree_on_counts(log: Log, kept: list[Record], position: Seq, count: int) -> None:
    """How many lie behind a position, up to each event; and where the newest so many begin."""
    after = [record for record in kept if record.seq > position]
    assert await log.count(after=position, through=position) == 0
    for number, record in enumerate(after, 1):
        assert await log.count(after=position, through=record.seq) == number
    expected = kept[-count - 1].seq if count < len(kept) else log.trimmed_through
    assert await log.before_newest(count) == expected


async def test_counting_agrees_far_behind_what_is_in_memory_too(open_store: OpenStore, clock: Clock) -> None:
    async with open_store(Retention(max_bytes=4 << 20), clock) as store:
        log = await store.create(record_of("w"), nobody)
        appended: list[Record] = []
        for number in range(160):
            clock.now_us += 10
            appended += await log.append(said(*["x" * 10_000] * (1 + number % 5)))
        kept = [record for record in appended if record.seq > log.trimmed_through]
        assert len(kept) < len(appended)
        for place in (0, 1, len(kept) // 3, len(kept) // 2, len(kept) - 2):
            after = kept[place].seq
            for last in (place, place + 1, len(kept) - 1):
                assert await log.count(after=after, through=kept[last].seq) == last - place
            assert await log.before_newest(len(kept) - place - 1) == after
        assert await log.before_newest(10 * len(kept)) == log.trimmed_through
