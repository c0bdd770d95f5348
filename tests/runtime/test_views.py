"""The transcript is a fold over the journal, bounded as the journal is."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.errors import LimitTooLarge, TranscriptExpired
from watchglass.protocol.events import Event, Snapshot, shape_fault
from watchglass.protocol.identity import WorkerRef
from watchglass.protocol.lifecycle import Phase
from watchglass.protocol.workers import TranscriptProjection
from watchglass.runtime.speech.text import TextSpeech
from watchglass.runtime.views import (
    OPEN_TEXT_CHARS_MAX,
    SNAPSHOT_CHARS_MAX,
    SNAPSHOT_ENTRIES_MAX,
    WorkerView,
    system_item,
    user_message,
)
from watchglass.store.base import Record, Retention
from watchglass.store.memory import open_memory_store

from support.workers import worker_in

REF = WorkerRef(runtime_id="rt", worker_id="w")
ALL = 1 << 30


def delta(text: str) -> Event:
    return Event("text_delta", {"text": text})


def done(text: str) -> Event:
    return Event("text_done", {"text": text})


def tool(summary: str) -> Event:
    return Event("tool_result", {"id": "t", "summary": summary})


def apply(view: WorkerView, *events: Event, first: int = 1) -> None:
    """Fold events in, with sequences from `first` on."""
    view.apply([Record(Seq(first + place), b"") for place in range(len(events))], events)


def view_of(*events: Event) -> WorkerView:
    view = WorkerView(REF)
    apply(view, *events)
    return view


def said_in(projection: TranscriptProjection) -> list[tuple[str, str]]:
    return [(entry.role, entry.content) for entry in projection.items]


def transcript(view: WorkerView) -> list[tuple[str, str]]:
    return said_in(view.window(None, ALL, ALL))


def model_of(events: list[Event]) -> list[tuple[str, str]]:
    """What a transcript is, in ten lines."""
    entries: list[tuple[str, str]] = []
    text = ""
    for name, data in events:
        if name == "text_delta":
            text += data["text"]
            continue
        closes = {"user_message", "system_item", "tool_result", "turn_end", "run_end", "end"}
        entries += [("assistant", text)] if name in closes else []
        text = "" if name in closes | {"text_done"} else text
        entries += [("assistant", data["text"])] if name == "text_done" else []
        entries += [("user", data["segments"][0]["content"])] if name == "user_message" else []
        entries += [("system", data["item"]["content"])] if name == "system_item" else []
        entries += [("tool", data["summary"])] if name == "tool_result" else []
    return [entry for entry in entries if entry[1]]


texts = st.text(max_size=4)
conversations = st.lists(
    st.builds(delta, texts)
    | st.builds(done, texts)
    | st.builds(user_message, texts)
    | st.builds(system_item, texts)
    | st.builds(tool, texts)
    | st.sampled_from(
        [
            Event("turn_end", {"turn": 1}),
            Event("run_end", {}),
            Event("end", {}),
            Event("status", {"status": "running"}),
            Event("thinking_delta", {"text": "hm"}),
            Event("x-ours", {"text": 5}),
        ]
    ),
    max_size=30,
)


@given(conversations)
def test_a_transcript_is_what_was_said_by_each_side(events: list[Event]) -> None:
    assert transcript(view_of(*events)) == model_of(events)


@given(conversations, st.integers(0, 30))
def test_the_same_events_give_the_same_view_however_they_are_batched(events: list[Event], cut: int) -> None:
    view = WorkerView(REF)
    apply(view, *events[:cut])
    apply(view, *events[cut:], first=len(events[:cut]) + 1)
    whole = view_of(*events)
    assert view.window(None, ALL, ALL) == whole.window(None, ALL, ALL)
    assert view.in_flight() == whole.in_flight()


@given(conversations)
def test_entries_are_numbered_from_1_and_name_the_event_that_completed_them(events: list[Event]) -> None:
    entries = view_of(*events).window(None, ALL, ALL).items
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.event_id for entry in entries] == sorted(entry.event_id for entry in entries)
    assert {entry.event_id for entry in entries} <= {encode_cursor(place + 1) for place in range(len(events))}


@given(conversations, st.integers(0, 31))
def test_an_entry_expires_with_the_event_that_made_it(events: list[Event], trimmed: int) -> None:
    view, whole = view_of(*events), view_of(*events)
    view.expire(Seq(trimmed))
    kept = [entry for entry in whole.window(None, ALL, ALL).items if entry.event_id > encode_cursor(trimmed)]
    assert view.window(None, ALL, ALL).items == kept
    assert view.transcript_len == whole.transcript_len
    assert view.oldest_kept == whole.transcript_len - len(kept)


@given(conversations, st.integers(1, 5))
def test_windows_put_together_are_the_transcript(events: list[Event], limit: int) -> None:
    view = view_of(*events)
    taken: list[tuple[str, str]] = []
    start: int | None = 0
    while start is not None:
        window = view.window(start, limit, limit)
        assert window.total_items == view.transcript_len
        assert (window.start, window.limit) == (start, limit)
        assert len(window.items) <= limit
        taken += said_in(window)
        start = window.next_start
    assert taken == transcript(view)


def test_the_text_between_two_inputs_is_one_entry() -> None:
    view = view_of(user_message("hi"), delta("hel"), delta("lo"), user_message("bye"))
    assert transcript(view) == [("user", "hi"), ("assistant", "hello"), ("user", "bye")]


def test_a_done_text_replaces_its_pieces() -> None:
    assert transcript(view_of(delta("hel"), delta("lo"), done("hello"))) == [("assistant", "hello")]


@given(st.lists(st.text("aé\n", max_size=6) | st.none(), max_size=8))
def test_speech_text_gives_each_turn_as_one_entry(turns: list[str | None]) -> None:
    speech, events = TextSpeech(), list[Event]()
    for said in turns:
        events += [*speech.turn(), user_message("next")] if said is None else speech.feed(0, said.encode())
    events += speech.finish()
    spoken = "".join("\0" if said is None else said for said in turns).split("\0")
    assert [content for role, content in transcript(view_of(*events)) if role == "assistant"] == [
        said for said in spoken if said
    ]


def test_what_is_being_said_is_in_flight_until_it_is_done() -> None:
    assert view_of().in_flight() is None
    assert view_of(delta("hel"), delta("lo")).in_flight() == {"text": "hello"}
    assert view_of(delta("hel"), done("hello")).in_flight() is None


def test_an_endless_text_is_closed_in_bounded_parts() -> None:
    piece = "x" * 10_000
    view = view_of(*[delta(piece)] * 100)
    lengths = [len(content) for _, content in transcript(view)]
    open_text = view.in_flight()
    assert lengths
    assert max(lengths) <= OPEN_TEXT_CHARS_MAX + len(piece)
    assert sum(lengths) + (len(open_text["text"]) if open_text else 0) == 100 * len(piece)


def test_a_text_that_became_entries_in_parts_is_not_said_again_when_it_is_done() -> None:
    piece = "x" * 10_000
    view = view_of(*[delta(piece)] * 30, done(piece * 30), delta("more"), done("more"))
    said = [content for _, content in transcript(view)]
    assert "".join(said) == piece * 30 + "more"
    assert said[-1] == "more"


def test_a_transcript_ends_with_what_is_being_said() -> None:
    view = view_of(user_message("hi"), delta("hel"), delta("lo"))
    assert view.window(None, 10, 10).in_flight == "hello"
    assert view.window(0, 0, 10).in_flight is None
    apply(view, done("hello"), first=9)
    assert view.window(None, 10, 10).in_flight is None


def test_a_limit_over_the_runtime_s_is_refused() -> None:
    with pytest.raises(LimitTooLarge, match="limit 3 is over this runtime's maximum of 2"):
        view_of().window(0, 3, 2)


def test_a_start_behind_the_end_gives_nothing_and_no_next() -> None:
    window = view_of(user_message("a")).window(5, 2, 2)
    assert (window.items, window.next_start, window.total_items) == ([], None, 1)


def test_a_start_that_is_no_longer_kept_is_told_never_clamped() -> None:
    view = view_of(user_message("a"), user_message("b"), user_message("c"))
    view.expire(Seq(2))
    with pytest.raises(TranscriptExpired) as refused:
        view.window(1, 2, 2)
    assert (refused.value.start, refused.value.oldest) == (1, 2)
    assert said_in(view.window(2, 2, 2)) == [("user", "c")]
    assert said_in(view.window(None, 2, 2)) == [("user", "c")]


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


@pytest.mark.parametrize(
    ("count", "size"),
    [(SNAPSHOT_ENTRIES_MAX + 10, 1), (10, SNAPSHOT_CHARS_MAX // 4), (2, SNAPSHOT_CHARS_MAX + 1)],
)
def test_a_snapshot_is_bounded_and_holds_the_newest_entries(count: int, size: int) -> None:
    view = view_of(*(user_message(f"{number}".ljust(size)) for number in range(count)))
    entries = view.snapshot_entries()
    assert 1 <= len(entries) <= SNAPSHOT_ENTRIES_MAX
    assert [entry["sequence"] for entry in entries] == list(range(count - len(entries) + 1, count + 1))
    assert len(entries) == 1 or sum(len(entry["content"]) for entry in entries) <= SNAPSHOT_CHARS_MAX


@pytest.mark.asyncio
@given(conversations.filter(bool), st.integers(1, 5))
async def test_a_worker_s_transcript_expires_with_its_log(events: list[Event], max_events: int) -> None:
    async with open_memory_store(Retention(max_events=max_events)) as store:
        worker = await worker_in(store)
        for event in events:
            await worker.log.append([event])
        kept = worker.view.window(None, ALL, ALL)
        assert all(entry.event_id >= encode_cursor(worker.log.oldest) for entry in kept.items)
        whole = view_of(*events)
        assert worker.view.transcript_len == whole.transcript_len
        assert said_in(kept) == transcript(whole)[worker.view.oldest_kept :]


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
