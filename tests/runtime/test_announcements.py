"""The runtime's own events, read in bounded batches from a cursor, and its diagnostics."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import CursorExpired, InvalidQuery, LimitTooLarge, WrongRuntimeCursor
from watchglass.protocol.events import Json
from watchglass.protocol.identity import WorkerRef
from watchglass.protocol.runtime import RuntimeEvent, RuntimeEventCursor, RuntimeEventKind
from watchglass.runtime.announcements import DIAGNOSTICS_MAX, Announcements
from watchglass.store.base import Retention
from watchglass.store.memory import open_memory_store

from support.workers import worker_of

pytestmark = pytest.mark.asyncio
REF = WorkerRef(runtime_id="rt", worker_id="w")
BATCH_MAX = 4
WELL_FURNISHED: Json = {"config_bundle": {"id": "b"}, "requested_capabilities": [{"name": "read"}]}


@pytest_asyncio.fixture
async def announcements() -> AsyncIterator[Announcements]:
    async with open_memory_store() as store:
        yield Announcements("rt", store.runtime_log, BATCH_MAX)


async def tell(announcements: Announcements, *messages: str) -> None:
    for message in messages:
        await announcements.tell(RuntimeEventKind.WORKER_CREATED, message, REF)


async def test_what_was_told_is_read_back(announcements: Announcements) -> None:
    await announcements.tell(RuntimeEventKind.RUNTIME_STARTED, "started")
    await announcements.tell(RuntimeEventKind.WORKER_CREATED, "worker w created", REF)
    batch = await announcements.batch(None, None)
    assert [(event.kind, event.message, event.worker_ref) for event in batch.events] == [
        (RuntimeEventKind.RUNTIME_STARTED, "started", None),
        (RuntimeEventKind.WORKER_CREATED, "worker w created", REF),
    ]
    assert not batch.has_more
    assert batch.next_cursor == RuntimeEventCursor(runtime_id="rt", next_event_id=batch.events[-1].id + 1)


async def test_an_empty_log_gives_a_cursor_to_go_on_from(announcements: Announcements) -> None:
    nothing = await announcements.batch(None, None)
    assert (nothing.events, nothing.has_more) == ([], False)
    await tell(announcements, "a")
    assert [event.message for event in (await announcements.batch(nothing.next_cursor, None)).events] == ["a"]


@given(st.integers(0, 12), st.integers(1, BATCH_MAX))
async def test_batches_put_together_are_the_log(count: int, limit: int) -> None:
    async with open_memory_store() as store:
        announcements = Announcements("rt", store.runtime_log, BATCH_MAX)
        messages = [f"m{number}" for number in range(count)]
        await tell(announcements, *messages)
        taken: list[RuntimeEvent] = []
        batch = await announcements.batch(None, limit)
        taken += batch.events
        while batch.has_more:
            batch = await announcements.batch(batch.next_cursor, limit)
            assert 0 < len(batch.events) <= limit
            taken += batch.events
        assert [event.message for event in taken] == messages


async def test_a_batch_without_a_limit_is_bounded_by_the_runtime_s(announcements: Announcements) -> None:
    await tell(announcements, *"abcdef")
    batch = await announcements.batch(None, None)
    assert len(batch.events) == BATCH_MAX
    assert batch.has_more


async def test_a_limit_over_the_runtime_s_is_refused(announcements: Announcements) -> None:
    with pytest.raises(LimitTooLarge, match="limit 5 is over this runtime's maximum of 4"):
        await announcements.batch(None, BATCH_MAX + 1)


async def test_a_foreign_runtime_s_cursor_is_refused(announcements: Announcements) -> None:
    with pytest.raises(WrongRuntimeCursor) as refused:
        await announcements.batch(RuntimeEventCursor(runtime_id="other", next_event_id=0), None)
    assert (refused.value.asked, refused.value.own) == ("other", "rt")


async def test_a_cursor_at_the_end_of_the_log_reads_nothing_yet(announcements: Announcements) -> None:
    await tell(announcements, "a")
    last = (await announcements.batch(None, None)).events[-1].id
    ahead = RuntimeEventCursor(runtime_id="rt", next_event_id=last + 1)
    batch = await announcements.batch(ahead, None)
    assert (batch.events, batch.has_more, batch.next_cursor) == ([], False, ahead)


async def test_a_cursor_ahead_of_the_newest_event_is_refused_and_the_newest_is_named(
    announcements: Announcements,
) -> None:
    newest = (await announcements.batch(None, None)).next_cursor
    ahead = newest.model_copy(update={"next_event_id": newest.next_event_id + 1})
    with pytest.raises(InvalidQuery, match=f"ahead of the newest.*{newest.next_event_id}"):
        await announcements.batch(ahead, None)


async def test_a_cursor_behind_retention_is_told_and_none_begins_at_the_oldest() -> None:
    async with open_memory_store(Retention(max_events=2)) as store:
        announcements = Announcements("rt", store.runtime_log, BATCH_MAX)
        await tell(announcements, *"abcde")
        assert [event.message for event in (await announcements.batch(None, None)).events] == ["d", "e"]
        with pytest.raises(CursorExpired):
            await announcements.batch(RuntimeEventCursor(runtime_id="rt", next_event_id=1), None)


async def test_a_new_worker_is_diagnosed_for_what_it_came_without(announcements: Announcements) -> None:
    await announcements.tell_created(worker_of())
    await announcements.tell_created(worker_of(**WELL_FURNISHED))
    told = [(note.id, note.severity, note.code, note.worker_ref) for note in announcements.diagnostics]
    assert told == [
        (1, "info", "runtime.local_default_resources", REF),
        (2, "info", "worker.tools_less", REF),
    ]


async def test_the_newest_diagnostics_are_kept_and_all_are_counted(announcements: Announcements) -> None:
    for _ in range(DIAGNOSTICS_MAX + 5):
        await announcements.tell_created(worker_of(**WELL_FURNISHED | {"config_bundle": None}))
    kept = announcements.diagnostics
    assert announcements.diagnostic_count == DIAGNOSTICS_MAX + 5
    assert [kept[0].id, kept[-1].id, len(kept)] == [6, DIAGNOSTICS_MAX + 5, DIAGNOSTICS_MAX]


async def test_nothing_is_told_of_a_worker_before_its_creation(announcements: Announcements) -> None:
    worker = worker_of()
    await announcements.tell_of(worker, RuntimeEventKind.WORKER_STOPPED, "worker w succeeded")
    assert (await announcements.batch(None, None)).events == []
    await announcements.tell_created(worker)
    await announcements.tell_of(worker, RuntimeEventKind.WORKER_INPUT_ACCEPTED, "worker w accepted input")
    told = [event.kind for event in (await announcements.batch(None, None)).events]
    assert told == [
        RuntimeEventKind.WORKER_CREATED,
        RuntimeEventKind.WORKER_STOPPED,
        RuntimeEventKind.WORKER_INPUT_ACCEPTED,
    ]
