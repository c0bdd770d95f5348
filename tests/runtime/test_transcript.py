"""What is kept in memory of a transcript is bounded, whatever its length."""

from __future__ import annotations

import pytest

from watchglass.protocol.cursor import SEQ_MAX, Seq
from watchglass.protocol.events import Event
from watchglass.runtime.transcript import (
    MARKS_MAX,
    SNAPSHOT_CHARS_MAX,
    SNAPSHOT_ENTRIES_MAX,
    Transcript,
    TranscriptState,
    read_state,
)
from watchglass.runtime.views import user_message
from watchglass.store.base import Record

from support.transcripts import delta

STATE = TranscriptState(
    length=3,
    position=9,
    in_parts=False,
    torn_at=None,
    open_text=("hel", 8, 9),
    spacing=1,
    marks=[(1, 4, False), (2, 6, True)],
)


def apply(transcript: Transcript, *events: Event) -> None:
    first = transcript.position + 1
    transcript.apply([Record(Seq(first + place), b"") for place in range(len(events))], events)


@pytest.mark.parametrize("content", ["hi", "x" * 10_000])
def test_no_more_is_held_after_200_000_entries_than_the_bounds_say(content: str) -> None:
    transcript, said = Transcript(), user_message(content)
    for _ in range(200):
        apply(transcript, *[said] * 1000)
    newest = transcript.newest(transcript.newest_start, transcript.length)
    assert transcript.length == 200_000
    assert len(newest) <= SNAPSHOT_ENTRIES_MAX
    assert sum(len(entry.content) for entry in newest) <= SNAPSHOT_CHARS_MAX
    state = read_state(transcript.state())
    assert state is not None
    assert MARKS_MAX // 2 <= len(state.marks) <= MARKS_MAX + SNAPSHOT_ENTRIES_MAX
    assert len(transcript.state()) < 40 * (MARKS_MAX + SNAPSHOT_ENTRIES_MAX)


def test_endless_pieces_of_nothing_take_no_room() -> None:
    transcript = Transcript()
    for _ in range(100):
        apply(transcript, *[delta("")] * 100)
    assert transcript.open_text is not None
    assert transcript.open_text.last == 10_000
    assert len(transcript._fold._pieces) == 1


def test_a_state_is_read_back() -> None:
    transcript = Transcript()
    transcript.restore(STATE)
    assert read_state(transcript.state()) == STATE


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2},
        {"length": -1},
        {"length": 2},
        {"length": "3"},
        {"position": SEQ_MAX + 1},
        {"position": 5},
        {"open_text": ["hel", 8]},
        {"spacing": 0},
        {"marks": [(2, 4, False), (1, 6, True)]},
        {"marks": [(1, 6, False), (2, 4, True)]},
        {"marks": [(1, 4)]},
        {"marks": None},
    ],
)
def test_a_state_that_contradicts_itself_is_none(wrong: dict[str, object]) -> None:
    assert read_state(STATE.model_dump_json().encode()) == STATE
    assert read_state(STATE.model_copy(update=wrong).model_dump_json(warnings=False).encode()) is None


def test_the_widest_numbers_are_kept() -> None:
    wide = STATE.model_copy(
        update={"position": SEQ_MAX, "length": SEQ_MAX, "marks": [(SEQ_MAX - 1, SEQ_MAX, True)]}
    )
    transcript = Transcript(newest_max=1)
    transcript.restore(wide)
    assert read_state(transcript.state()) == wide
