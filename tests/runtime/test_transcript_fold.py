"""What a transcript is: a fold over the journal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.protocol.events import Event
from watchglass.runtime.speech.text import TextSpeech
from watchglass.runtime.transcript_fold import CONCERNED, OPEN_TEXT_CHARS_MAX, Said, TranscriptFold
from watchglass.runtime.views import user_message

from support.transcripts import conversations, delta, done, fold, long_conversations, tool


def said_in(entries: list[Said]) -> list[tuple[str, str]]:
    return [(said.role, said.content) for said in entries]


def after(*events: Event) -> TranscriptFold:
    machine = TranscriptFold()
    for seq, event in enumerate(events, start=1):
        machine.feed(Seq(seq), event)
    return machine


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


@given(conversations)
def test_a_transcript_is_what_was_said_by_each_side(events: list[Event]) -> None:
    assert said_in(fold(events)) == model_of(events)


@given(conversations | long_conversations)
def test_entries_follow_each_other_in_the_log_without_overlap(events: list[Event]) -> None:
    end = 0
    for said in fold(events):
        assert end < said.begins <= said.seq <= len(events)
        end = said.seq


@given(conversations | long_conversations)
def test_a_fold_that_starts_where_an_entry_begins_says_the_rest(events: list[Event]) -> None:
    entries = fold(events)
    for place, entry in enumerate(entries):
        machine = TranscriptFold(in_parts=entry.in_parts)
        rest = [
            said
            for seq in range(entry.begins, len(events) + 1)
            for said in machine.feed(Seq(seq), events[seq - 1])
        ]
        assert rest == entries[place:]


@given(conversations | long_conversations, st.integers(0, 30))
def test_a_fold_goes_on_from_its_open_text(events: list[Event], cut: int) -> None:
    before = after(*events[:cut])
    machine = TranscriptFold(
        in_parts=before.told_in_parts, open_text=before.open_text, torn_at=before.torn_at
    )
    rest = [said for seq, event in enumerate(events[cut:], cut + 1) for said in machine.feed(Seq(seq), event)]
    assert fold(events[:cut]) + rest == fold(events)


@given(conversations | long_conversations)
def test_what_concerns_nobody_may_be_left_out(events: list[Event]) -> None:
    machine = TranscriptFold()
    said = [
        entry
        for seq, event in enumerate(events, start=1)
        if event.name in CONCERNED
        for entry in machine.feed(Seq(seq), event)
    ]
    assert said == fold(events)


def test_an_unfinished_text_is_complete_with_its_last_piece() -> None:
    [said, _] = fold(
        [delta(""), delta("hel"), Event("x-ours", {}), delta("lo"), Event("x-ours", {}), tool("t")]
    )
    assert (said.content, said.begins, said.seq) == ("hello", 2, 4)


def test_the_text_between_two_inputs_is_one_entry() -> None:
    entries = fold([user_message("hi"), delta("hel"), delta("lo"), user_message("bye")])
    assert said_in(entries) == [("user", "hi"), ("assistant", "hello"), ("user", "bye")]


def test_a_done_text_replaces_its_pieces_and_needs_none_of_them() -> None:
    [said] = fold([delta("hel"), delta("lo"), done("hello")])
    assert said == Said("assistant", "hello", Seq(3), Seq(3))


@given(st.lists(st.text("aé\n", max_size=6) | st.none(), max_size=8))
def test_speech_text_gives_each_turn_as_one_entry(turns: list[str | None]) -> None:
    speech, events = TextSpeech(), list[Event]()
    for said in turns:
        events += [*speech.turn(), user_message("next")] if said is None else speech.feed(0, said.encode())
    events += speech.finish()
    spoken = "".join("\0" if said is None else said for said in turns).split("\0")
    assert [content for role, content in said_in(fold(events)) if role == "assistant"] == [
        said for said in spoken if said
    ]


def test_an_endless_text_is_closed_in_bounded_parts() -> None:
    piece = "x" * 10_000
    events = [delta(piece)] * 100
    lengths = [len(said.content) for said in fold(events)]
    open_text = after(*events).open_text
    assert lengths
    assert max(lengths) <= OPEN_TEXT_CHARS_MAX + len(piece)
    assert sum(lengths) + (len(open_text.text) if open_text else 0) == 100 * len(piece)


def test_a_text_that_became_entries_in_parts_is_not_said_again_when_it_is_done() -> None:
    piece = "x" * 10_000
    entries = fold([*[delta(piece)] * 30, done(piece * 30), delta("more"), done("more")])
    assert "".join(said.content for said in entries) == piece * 30 + "more"
    assert [said.in_parts for said in entries] == [False, True, False]
    assert entries[-1].content == "more"


def test_a_text_that_may_have_lost_its_beginning_is_as_lost_as_that() -> None:
    machine = TranscriptFold(torn_at=Seq(4))
    assert machine.feed(Seq(5), delta("lo")) == ()
    assert machine.feed(Seq(6), tool("t")) == (
        Said("assistant", "lo", Seq(4), Seq(5)),
        Said("tool", "t", Seq(6), Seq(6)),
    )
    machine.feed(Seq(7), delta("whole"))
    assert machine.feed(Seq(8), Event("end", {})) == (Said("assistant", "whole", Seq(7), Seq(7)),)
