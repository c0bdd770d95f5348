"""The transcript is an index over the journal: whole windows from anywhere in it, bounded in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.errors import LimitTooLarge, StoreCorrupt, StoreIo, TranscriptExpired
from watchglass.protocol.events import Event, Snapshot, shape_fault
from watchglass.protocol.lifecycle import Phase
from watchglass.runtime.transcript import SNAPSHOT_CHARS_MAX, SNAPSHOT_ENTRIES_MAX
from watchglass.runtime.views import SAVE_EVENTS, WINDOW_TRIES_MAX, WorkerView, user_message
from watchglass.store.base import Record, Retention, Run
from watchglass.store.memory import MemoryLog, open_memory_store

from support.transcripts import (
    ALL,
    REF,
    Told,
    conversations,
    delta,
    done,
    fold,
    long_conversations,
    shown,
    told,
    tool,
)
from support.workers import worker_in

bounds = st.fixed_dictionaries({"marks_max": st.integers(1, 6), "newest_max": st.integers(1, 4)})
FILLER = Event("x-ours", {})


class CountingLog(MemoryLog):
    """Counts how often it is read."""

    reads = 0

    async def read(self, **asked: Any) -> Run:
        self.reads += 1
        await asyncio.sleep(0)
        return await super().read(**asked)


class MovingLog(MemoryLog):
    """Hands out little at a time, and somebody appends whenever it is read."""

    events_per_read = 1

    async def read(self, *, after: Seq, **_asked: Any) -> Run:
        records = await super().read(after=after, max_records=2)
        for _ in range(self.events_per_read):
            await self.append([user_message("more")])
        return records


class AgingLog(MemoryLog):
    """Retention that drops old events while nobody appends."""

    on_read: Callable[[], object] | None = None

    def age(self, kept_events: int) -> None:
        self._tail._retention = Retention(max_events=kept_events)
        self._tail._trim()

    async def read(self, **asked: Any) -> Run:
        records = await super().read(**asked)
        if self.on_read is not None:
            asyncio.get_running_loop().call_soon(self.on_read)
        return records


class BrokenLog(MemoryLog):
    """Cannot be read while it is broken."""

    is_broken = True

    async def read(self, **asked: Any) -> Run:
        if self.is_broken:
            raise StoreCorrupt("read", "1.jsonl", "line 7 is not JSON")
        return await super().read(**asked)


def contents(entries: Sequence[dict[str, Any]]) -> list[str]:
    return [entry["content"] for entry in entries]


async def assert_whole(conversation: Told, view: WorkerView) -> None:
    """Every window is what was said, or has expired; nothing is claimed that is not whole."""
    log, oldest = conversation.log, view.oldest_kept
    entries = [(said.role, said.content) for said in conversation.entries]
    assert view.transcript_len == len(entries)
    assert conversation.oldest_whole <= oldest <= len(entries)
    for start in range(len(entries) + 1):
        for limit in (2, ALL):
            expected = entries[start : start + limit] if start >= oldest else None
            assert await shown(view, log, start, limit) == expected


# Windows.


@given(conversations | long_conversations, bounds)
@pytest.mark.asyncio
async def test_a_window_anywhere_is_what_was_said_there(events: list[Event], bounds: dict[str, Any]) -> None:
    conversation = Told(**bounds)
    await conversation.say(*events)
    await assert_whole(conversation, conversation.view)
    assert conversation.view.oldest_kept == 0


@given(conversations | long_conversations, bounds, st.integers(1, 20))
@pytest.mark.asyncio
async def test_what_retention_cut_is_refused_and_the_rest_is_whole(
    events: list[Event], bounds: dict[str, Any], max_events: int
) -> None:
    conversation = Told(max_events, **bounds)
    await conversation.say(*events)
    await assert_whole(conversation, conversation.view)


@given(conversations, st.integers(1, 20))
@pytest.mark.asyncio
async def test_an_entry_expires_with_the_event_that_it_begins_with(
    events: list[Event], max_events: int
) -> None:
    conversation = Told(max_events)
    await conversation.say(*events)
    assert conversation.view.oldest_kept == conversation.oldest_whole
    window = await conversation.view.window(conversation.log, None, ALL, ALL)
    kept = [said for said in conversation.entries if said.begins > conversation.log.trimmed_through]
    assert [entry.event_id for entry in window.items] == [encode_cursor(said.seq) for said in kept]
    assert window.start == len(conversation.entries) - len(kept)


@given(conversations, st.integers(0, 30))
@pytest.mark.asyncio
async def test_the_same_events_give_the_same_view_however_they_are_batched(
    events: list[Event], cut: int
) -> None:
    one_by_one, batched = await told(*events), Told()
    for batch in filter(None, (events[:cut], events[cut:])):
        await batched.log.append(batch)
    windows = [await both.view.window(both.log, None, ALL, ALL) for both in (one_by_one, batched)]
    assert windows[0] == windows[1]
    assert one_by_one.view.in_flight() == batched.view.in_flight()


@given(conversations, bounds)
@pytest.mark.asyncio
async def test_entries_are_numbered_from_1_and_name_the_event_that_completed_them(
    events: list[Event], bounds: dict[str, Any]
) -> None:
    conversation = Told(**bounds)
    await conversation.say(*events)
    entries = (await conversation.view.window(conversation.log, None, ALL, ALL)).items
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.event_id for entry in entries] == [encode_cursor(said.seq) for said in fold(events)]


@given(conversations, st.integers(1, 5), bounds)
@pytest.mark.asyncio
async def test_windows_put_together_are_the_transcript(
    events: list[Event], limit: int, bounds: dict[str, Any]
) -> None:
    conversation = Told(**bounds)
    await conversation.say(*events)
    taken: list[tuple[str, str]] = []
    start: int | None = 0
    while start is not None:
        window = await conversation.view.window(conversation.log, start, limit, limit)
        assert window.total_items == conversation.view.transcript_len
        assert (window.start, window.limit) == (start, limit)
        assert len(window.items) <= limit
        taken += [(entry.role, entry.content) for entry in window.items]
        start = window.next_start
    assert taken == [(said.role, said.content) for said in conversation.entries]


@pytest.mark.asyncio
async def test_a_transcript_ends_with_what_is_being_said() -> None:
    conversation = await told(user_message("hi"), delta("hel"), delta("lo"))
    view, log = conversation.view, conversation.log
    assert (await view.window(log, None, 10, 10)).in_flight == "hello"
    assert (await view.window(log, 0, 0, 10)).in_flight is None
    await conversation.say(done("hello"))
    assert (await view.window(log, None, 10, 10)).in_flight is None


@pytest.mark.asyncio
async def test_the_open_text_is_of_the_same_moment_as_the_count() -> None:
    conversation = Told(newest_max=1, log=MovingLog)
    await conversation.say(*(user_message(str(number)) for number in range(9)), delta("hel"), delta("lo"))
    window = await conversation.view.window(conversation.log, 0, ALL, ALL)
    assert (window.total_items, len(window.items), window.in_flight) == (9, 9, "hello")
    assert conversation.view.transcript_len > 9


@pytest.mark.asyncio
async def test_a_limit_over_the_runtime_s_is_refused() -> None:
    with pytest.raises(LimitTooLarge, match="limit 3 is over this runtime's maximum of 2"):
        await Told().view.window(Told().log, 0, 3, 2)


@pytest.mark.asyncio
async def test_a_start_behind_the_end_gives_nothing_and_no_next() -> None:
    conversation = await told(user_message("a"))
    window = await conversation.view.window(conversation.log, 5, 2, 2)
    assert (window.items, window.next_start, window.total_items) == ([], None, 1)


@pytest.mark.asyncio
async def test_a_start_that_is_no_longer_kept_is_told_never_clamped() -> None:
    conversation = Told(max_events=1)
    await conversation.say(user_message("a"), user_message("b"), user_message("c"))
    with pytest.raises(TranscriptExpired) as refused:
        await conversation.view.window(conversation.log, 1, 2, 2)
    assert (refused.value.start, refused.value.oldest) == (1, 2)
    assert await shown(conversation.view, conversation.log, 2) == [("user", "c")]
    assert await shown(conversation.view, conversation.log) == [("user", "c")]


@pytest.mark.asyncio
async def test_the_newest_entries_are_shown_without_reading_the_log() -> None:
    conversation = Told(newest_max=3, log=CountingLog)
    log = conversation.log
    assert isinstance(log, CountingLog)
    await conversation.say(*(user_message(str(number)) for number in range(9)))
    assert await shown(conversation.view, log, 6) == [("user", "6"), ("user", "7"), ("user", "8")]
    assert log.reads == 0
    assert await shown(conversation.view, log, 5, 1) == [("user", "5")]
    assert log.reads == 1


@pytest.mark.asyncio
async def test_the_oldest_kept_entries_are_shown_although_retention_moves_meanwhile() -> None:
    conversation = Told(max_events=20, newest_max=1, log=MovingLog)
    await conversation.say(*(user_message(str(number)) for number in range(20)))
    window = await conversation.view.window(conversation.log, None, 5, ALL)
    assert (window.start, [entry.content for entry in window.items]) == (0, ["0", "1", "2", "3", "4"])
    with pytest.raises(TranscriptExpired) as refused:
        await conversation.view.window(conversation.log, 0, 5, ALL)
    assert refused.value.oldest == conversation.view.oldest_kept


@pytest.mark.parametrize("start", [None, 0])
@pytest.mark.asyncio
async def test_a_window_that_retention_overtakes_again_and_again_has_expired(start: int | None) -> None:
    conversation = Told(max_events=20, newest_max=1, log=MovingLog)
    await conversation.say(*(user_message(str(number)) for number in range(20)))
    log = conversation.log
    assert isinstance(log, MovingLog)
    log.events_per_read = 10
    with pytest.raises(TranscriptExpired):
        await conversation.view.window(log, start, 15, ALL)
    tries = (conversation.view.transcript_len - 20) // 10
    assert tries <= 2 * WINDOW_TRIES_MAX


@pytest.mark.asyncio
async def test_retention_by_age_needs_no_append() -> None:
    conversation = Told(newest_max=1, log=AgingLog)
    view, log = conversation.view, conversation.log
    assert isinstance(log, AgingLog)
    await conversation.say(*(user_message(str(number)) for number in range(9)))
    log.age(kept_events=3)
    with pytest.raises(TranscriptExpired) as refused:
        await view.window(log, 0, 1, 1)
    assert (refused.value.start, refused.value.oldest) == (0, 6)
    assert await shown(view, log) == [("user", "6"), ("user", "7"), ("user", "8")]


@pytest.mark.asyncio
async def test_an_open_text_that_lost_its_beginning_is_an_entry_that_has_expired() -> None:
    conversation = Told(log=AgingLog)
    view, log = conversation.view, conversation.log
    assert isinstance(log, AgingLog)
    await conversation.say(delta("hel"), delta("lo"))
    log.age(kept_events=1)
    assert (await view.window(log, None, 1, 1)).in_flight == "hello"
    log.age(kept_events=10)
    await conversation.say(Event("turn_end", {}), user_message("b"))
    assert await shown(view, log) == [("user", "b")]
    assert (view.transcript_len, view.oldest_kept) == (2, 1)
    assert contents(view.snapshot_entries()) == ["b"]


@pytest.mark.parametrize("marks_max", [1, 100])
@pytest.mark.asyncio
async def test_a_text_told_in_parts_is_read_back_in_the_same_parts(marks_max: int) -> None:
    conversation = Told(newest_max=1, marks_max=marks_max)
    piece = "x" * 100_000
    for _ in range(3):
        await conversation.say(*[delta(piece)] * 7, done(piece * 7), user_message("next"))
    assert [len(said.content) for said in conversation.entries[:3]] == [300_000, 300_000, 100_000]
    await assert_whole(conversation, conversation.view)


@pytest.mark.asyncio
async def test_what_the_store_cannot_read_is_its_fault_to_tell() -> None:
    conversation = Told(newest_max=1, log=BrokenLog)
    await conversation.say(user_message("a"), user_message("b"))
    with pytest.raises(StoreCorrupt):
        await conversation.view.window(conversation.log, 0, 2, 2)
    assert await shown(conversation.view, conversation.log, 1) == [("user", "b")]


# Restoring.


async def assert_same(conversation: Told, restored: WorkerView) -> None:
    """The restored view is as the one that never stopped."""
    view, log = conversation.view, conversation.log
    await restored.wake(log)
    assert restored.in_flight() == view.in_flight()
    assert restored.snapshot_entries() == view.snapshot_entries()
    await assert_whole(conversation, restored)


@given(conversations | long_conversations, st.data(), bounds)
@pytest.mark.asyncio
async def test_a_view_goes_on_from_any_state_as_if_it_had_never_stopped(
    events: list[Event], data: st.DataObject, bounds: dict[str, Any]
) -> None:
    conversation = Told(**bounds)
    cut = data.draw(st.integers(0, len(events)))
    await conversation.say(*events[:cut])
    state = conversation.view.state()
    await conversation.say(*events[cut:])
    restored = await WorkerView.restore(REF, state, conversation.log, **bounds)
    await assert_same(conversation, restored)
    assert restored.state() == conversation.view.state()


@given(conversations, st.data(), bounds, st.integers(1, 20))
@pytest.mark.asyncio
async def test_a_state_that_the_log_reaches_back_to_is_enough(
    events: list[Event], data: st.DataObject, bounds: dict[str, Any], max_events: int
) -> None:
    conversation = Told(max_events, **bounds)
    cut = data.draw(st.integers(max(0, len(events) - max_events), len(events)))
    await conversation.say(*events[:cut])
    state = conversation.view.state()
    await conversation.say(*events[cut:])
    await assert_same(conversation, await WorkerView.restore(REF, state, conversation.log, **bounds))


@given(conversations | long_conversations, bounds)
@pytest.mark.asyncio
async def test_without_a_state_the_log_is_enough(events: list[Event], bounds: dict[str, Any]) -> None:
    conversation = Told(**bounds)
    await conversation.say(*events)
    for useless in (None, b"", b"{", b"[]", b'{"version":2}', b"\xff", conversation.view.state()[:-9]):
        await assert_same(conversation, await WorkerView.restore(REF, useless, conversation.log, **bounds))


@given(conversations, st.data(), st.integers(1, 10))
@pytest.mark.asyncio
async def test_behind_a_gap_the_count_goes_on_and_what_is_shown_is_whole(
    events: list[Event], data: st.DataObject, max_events: int
) -> None:
    conversation = Told(max_events)
    cut = data.draw(st.integers(0, len(events)))
    await conversation.say(*events[:cut])
    state, counted = conversation.view.state(), conversation.view.transcript_len
    await conversation.say(*events[cut:])
    restored = await WorkerView.restore(REF, state, conversation.log)
    window = await restored.window(conversation.log, None, ALL, ALL)
    assert counted <= restored.transcript_len <= len(conversation.entries)
    whole = [
        (encode_cursor(said.seq), said.content) for said in conversation.entries[conversation.oldest_whole :]
    ]
    seen = [(entry.event_id, entry.content) for entry in window.items]
    assert whole[len(whole) - len(seen) :] == seen
    assert len(whole) - len(seen) <= 1  # A text at the gap may have lost its beginning.


@given(conversations, st.data(), bounds)
@pytest.mark.asyncio
async def test_a_log_that_lost_its_end_is_believed_and_not_the_state(
    events: list[Event], data: st.DataObject, bounds: dict[str, Any]
) -> None:
    ahead, conversation = Told(**bounds), Told(**bounds)
    kept = data.draw(st.integers(0, len(events)))
    await ahead.say(*events)
    await conversation.say(*events[:kept])
    restored = await WorkerView.restore(REF, ahead.view.state(), conversation.log, **bounds)
    await restored.wake(conversation.log)
    assert restored.in_flight() == conversation.view.in_flight()
    await assert_whole(conversation, restored)


@pytest.mark.asyncio
async def test_a_log_that_lost_its_end_and_its_beginning_still_has_its_count() -> None:
    ahead, conversation = Told(max_events=5), Told(max_events=5)
    inputs = [user_message(str(number)) for number in range(10)]
    await ahead.say(*inputs, user_message("lost"), delta("lost"))
    await conversation.say(*inputs)
    restored = await WorkerView.restore(REF, ahead.view.state(), conversation.log)
    assert restored.in_flight() is None
    assert restored.oldest_kept < 10
    await assert_whole(conversation, restored)


@pytest.mark.asyncio
async def test_a_state_of_events_that_this_log_never_had_counts_for_nothing() -> None:
    other, conversation = Told(after=Seq(10)), Told(after=Seq(100))
    await other.say(*[user_message("other")] * 3)
    await conversation.say(user_message("a"), user_message("b"))
    await assert_same(conversation, await WorkerView.restore(REF, other.view.state(), conversation.log))


@pytest.mark.parametrize("length", [3, 1000, 1 << 63])
@pytest.mark.parametrize("is_woken", [False, True])
@pytest.mark.asyncio
async def test_a_state_that_tells_of_more_than_the_log_has_counts_for_nothing(
    length: int, is_woken: bool
) -> None:
    conversation = Told()
    await conversation.say(user_message("a"), user_message("b"))
    lie = orjson.dumps({**orjson.loads(conversation.view.state()), "length": length})
    restored = await WorkerView.restore(REF, lie, conversation.log)
    if is_woken:
        await restored.wake(conversation.log)
    await assert_same(conversation, restored)


@pytest.mark.parametrize("is_saved_at_the_gap", [False, True])
@pytest.mark.asyncio
async def test_a_text_that_goes_on_behind_a_gap_is_never_shown_as_if_it_were_whole(
    is_saved_at_the_gap: bool,
) -> None:
    conversation = Told(log=AgingLog)
    log = conversation.log
    assert isinstance(log, AgingLog)
    await conversation.say(user_message("a"))
    state: bytes = conversation.view.state()
    await conversation.say(delta("hel"), FILLER)
    log.age(kept_events=1)
    if is_saved_at_the_gap:
        state = (await WorkerView.restore(REF, state, log)).state()
    log.age(kept_events=10)
    await conversation.say(delta("lo"), tool("t"), delta("whole"), Event("end", {}))
    restored = await WorkerView.restore(REF, state, log)
    await restored.wake(log)
    assert (restored.transcript_len, restored.oldest_kept) == (4, 2)
    assert contents(restored.snapshot_entries()) == ["t", "whole"]
    assert await shown(restored, log) == [("tool", "t"), ("assistant", "whole")]


@pytest.mark.asyncio
async def test_a_view_that_wakes_while_retention_moves_holds_what_is_left() -> None:
    conversation = Told(log=AgingLog)
    log = conversation.log
    assert isinstance(log, AgingLog)
    await conversation.say(*(user_message(str(number)) for number in range(20)))
    restored = await WorkerView.restore(REF, conversation.view.state(), log)
    reads = iter([100, 1])  # First the newest 8 are read, then those before them.

    def drop() -> None:
        log.age(next(reads))
        restored.expire(log.trimmed_through)

    log.on_read = drop
    await restored.wake(log)
    assert contents(restored.snapshot_entries()) == ["19"]
    assert await shown(restored, log) == [("user", "19")]


@pytest.mark.asyncio
async def test_only_what_is_after_the_state_is_folded_again() -> None:
    conversation = Told(log=CountingLog)
    log = conversation.log
    assert isinstance(log, CountingLog)
    await conversation.say(*[FILLER] * 2000)
    state = conversation.view.state()
    await WorkerView.restore(REF, state, log)
    assert log.reads == 0
    await conversation.say(FILLER)
    await WorkerView.restore(REF, state, log)
    assert log.reads == 1


@pytest.mark.asyncio
async def test_a_save_is_due_after_so_many_events() -> None:
    conversation = await told(*[FILLER] * (SAVE_EVENTS - 1))
    view = conversation.view
    assert not view.is_save_due
    await conversation.say(FILLER)
    assert (view.events_since_state, view.is_save_due) == (SAVE_EVENTS, True)
    view.state()
    assert (view.events_since_state, view.is_save_due) == (0, False)


@pytest.mark.asyncio
async def test_a_save_is_due_when_retention_has_overtaken_the_last_one() -> None:
    conversation = Told(max_events=3)
    due = []
    for _ in range(9):
        await conversation.say(FILLER)
        due.append(conversation.view.is_save_due)
        if conversation.view.is_save_due:
            conversation.view.state()
    assert due == [False] * 3 + [True] + [False] * 3 + [True] + [False]


@given(conversations, bounds)
@pytest.mark.asyncio
async def test_a_view_that_wakes_while_events_come_has_each_of_them_once(
    events: list[Event], bounds: dict[str, Any]
) -> None:
    conversation = Told(**bounds, log=CountingLog)
    await conversation.say(*events)

    async def nothing() -> None:
        return None

    asleep = conversation.view = WorkerView.asleep(REF, nothing, **bounds)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asleep.wake(conversation.log))
        for event in events:
            await conversation.say(event)
            await asyncio.sleep(0)
    await conversation.say(*events)
    await assert_whole(conversation, asleep)


@pytest.mark.parametrize("events_per_read", [1, 2, 3, 10])
@pytest.mark.parametrize("max_events", [20, 1000])
@pytest.mark.asyncio
async def test_a_view_that_wakes_while_events_come_holds_the_newest(
    events_per_read: int, max_events: int
) -> None:
    conversation = Told(max_events, newest_max=12, log=MovingLog)
    await conversation.say(*(user_message(str(number)) for number in range(20)))
    state, log = conversation.view.state(), conversation.log
    assert isinstance(log, MovingLog)
    never_stopped = conversation.view
    restored = await WorkerView.restore(REF, state, log, newest_max=12)
    apply = log.on_visible

    def both(records: Sequence[Record], events: Sequence[Event]) -> None:
        restored.apply(records, events)
        restored.expire(log.trimmed_through)
        apply(records, events)

    log.on_visible = both
    log.events_per_read = events_per_read
    await restored.wake(log)
    assert restored.snapshot_entries() == never_stopped.snapshot_entries()
    assert len(restored.snapshot_entries()) == 12


@pytest.mark.asyncio
async def test_a_sleeping_view_is_loaded_once_when_somebody_asks() -> None:
    conversation = await told(user_message("a"), delta("hel"))
    state, loads = conversation.view.state(), 0

    async def load() -> bytes:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        return state

    view = WorkerView.asleep(REF, load, transcript_len=1)
    assert (view.transcript_len, loads) == (1, 0)
    log = conversation.log
    await asyncio.gather(
        view.wake(log), view.window(log, 0, 1, 1), view.wake(log), view.window(log, None, 1, 1)
    )
    assert loads == 1
    assert contents(view.snapshot_entries()) == ["a"]
    assert view.in_flight() == {"text": "hel"}


@pytest.mark.asyncio
async def test_a_load_that_failed_or_was_cancelled_is_tried_again() -> None:
    conversation = await told(user_message("a"))
    never, tried = asyncio.Event(), asyncio.Event()
    steps = iter(["fail", "hang", "work"])

    async def load() -> None:
        step = next(steps)
        if step == "fail":
            raise StoreIo("read", "view.json", "Input/output error")
        if step == "hang":
            tried.set()
            await never.wait()

    view = WorkerView.asleep(REF, load, transcript_len=1)
    with pytest.raises(StoreIo):
        await view.wake(conversation.log)
    assert view.transcript_len == 1
    hanging = asyncio.create_task(view.wake(conversation.log))
    await tried.wait()
    following = asyncio.create_task(view.window(conversation.log, None, 1, 1))
    hanging.cancel()
    assert [entry.content for entry in (await following).items] == ["a"]


@pytest.mark.asyncio
async def test_a_view_that_cannot_be_restored_stays_asleep() -> None:
    conversation = Told(log=BrokenLog)
    log = conversation.log
    assert isinstance(log, BrokenLog)
    await conversation.say(user_message("a"))
    with pytest.raises(StoreCorrupt):
        await WorkerView.restore(REF, None, log)

    async def nothing() -> None:
        return None

    view = WorkerView.asleep(REF, nothing, transcript_len=1)
    with pytest.raises(StoreCorrupt):
        await view.wake(log)
    log.is_broken = False
    await view.wake(log)
    assert contents(view.snapshot_entries()) == ["a"]


# Snapshots.


@pytest.mark.asyncio
async def test_what_is_being_said_is_in_flight_until_it_is_done() -> None:
    assert (await told()).view.in_flight() is None
    assert (await told(delta("hel"), delta("lo"))).view.in_flight() == {"text": "hello"}
    assert (await told(delta("hel"), done("hello"))).view.in_flight() is None


@pytest.mark.parametrize(
    ("count", "size"),
    [(SNAPSHOT_ENTRIES_MAX + 10, 1), (10, SNAPSHOT_CHARS_MAX // 4), (2, SNAPSHOT_CHARS_MAX + 1)],
)
@pytest.mark.asyncio
async def test_a_snapshot_is_bounded_and_holds_the_newest_entries(count: int, size: int) -> None:
    conversation = await told(*(user_message(f"{number}".ljust(size)) for number in range(count)))
    restored = await WorkerView.restore(REF, conversation.view.state(), conversation.log)
    await restored.wake(conversation.log)
    for view in (conversation.view, restored):
        entries = view.snapshot_entries()
        assert 1 <= len(entries) <= SNAPSHOT_ENTRIES_MAX
        assert [entry["sequence"] for entry in entries] == list(range(count - len(entries) + 1, count + 1))
        assert len(entries) == 1 or sum(map(len, contents(entries))) <= SNAPSHOT_CHARS_MAX
    assert restored.snapshot_entries() == conversation.view.snapshot_entries()


@given(conversations, st.integers(1, 20))
@pytest.mark.asyncio
async def test_a_snapshot_holds_nothing_that_has_expired(events: list[Event], max_events: int) -> None:
    conversation = Told(max_events)
    await conversation.say(*events)
    kept = conversation.entries[conversation.view.oldest_kept :]
    assert contents(conversation.view.snapshot_entries()) == [said.content for said in kept]


# As part of a worker, over a real log.


@pytest.mark.asyncio
async def test_a_snapshot_has_the_contract_s_shape_and_tells_as_of_when() -> None:
    async with open_memory_store() as store:
        worker = await worker_in(store)
        worker.life.phase = Phase.RUNNING
        records = await worker.log.append([user_message("hi"), delta("hel")])
        snapshot = worker.snapshot()
        assert shape_fault(Event("snapshot", snapshot)) is None
        read = Snapshot.model_validate_json(orjson.dumps(snapshot))
        assert read.as_of == encode_cursor(records[-1].seq)
        assert (read.status, read.phase) == ("running", "running")
        assert [entry["content"] for entry in read.entries] == ["hi"]
        assert read.in_flight == {"text": "hel"}
        assert (read.entries_start, read.transcript_len) == (0, 1)
        assert read.greeting == {"runtime_id": "rt", "worker_id": "w", "speech": "text"}


@pytest.mark.asyncio
@given(conversations.filter(bool), st.integers(1, 5))
async def test_a_worker_s_transcript_expires_with_its_log(events: list[Event], max_events: int) -> None:
    async with open_memory_store(Retention(max_events=max_events)) as store:
        worker = await worker_in(store)
        for event in events:
            await worker.log.append([event])
        kept = await worker.view.window(worker.log, None, ALL, ALL)
        assert all(entry.event_id >= encode_cursor(worker.log.oldest) for entry in kept.items)
        whole = fold(events)
        assert worker.view.transcript_len == len(whole)
        assert [entry.content for entry in kept.items] == [
            said.content for said in whole[worker.view.oldest_kept :]
        ]


@pytest.mark.asyncio
async def test_an_ack_names_the_place_of_the_input_in_the_transcript() -> None:
    async with open_memory_store() as store:
        worker = await worker_in(store)
        for place, content in enumerate(["a", "b"], start=1):
            [record] = await worker.log.append([user_message(content)])
            ack = worker.interaction_ack(record)
            assert ack.transcript_sequence == place
            assert ack.event_id == encode_cursor(record.seq)


@pytest.mark.asyncio
async def test_a_worker_shows_its_request_but_no_value_of_its_environment() -> None:
    async with open_memory_store() as store:
        worker = await worker_in(
            store,
            execution={"program": "cat", "env": {"TOKEN": "sk-secret"}},
            metadata={"team": "x"},
            requested_capabilities=[{"name": "net"}],
            config_bundle={"id": "b"},
        )
        detail, summary = worker.detail(), worker.summary()
        assert "sk-secret" not in detail.model_dump_json() + summary.model_dump_json()
        assert detail.execution is not None
        assert detail.execution.env == {"TOKEN": "<redacted>"}
        assert (summary.program, summary.requested_capability_count) == ("cat", 1)
        assert summary.has_config_bundle
        assert summary.metadata == detail.metadata == {"team": "x"}
