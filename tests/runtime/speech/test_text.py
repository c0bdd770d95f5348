"""Speech `text`: lines in, text out, and nothing lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watchglass.protocol.events import Event
from watchglass.protocol.workers import WorkerInput
from watchglass.runtime.speech.base import EVENT_TEXT_CHARS_MAX
from watchglass.runtime.speech.text import DONE_CHARS_MAX, TextSpeech

from support.streams import chunked, cuts, heard


def joined(name: str, events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.name == name)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), cuts())
@example("é€😀".encode(), [100, 200, 300, 400, 500, 600, 700, 800, 900])
@example(b"\xe2\x82", [500])
def test_any_cut_of_any_bytes_gives_the_text_of_the_whole(data: bytes, shares: list[int]) -> None:
    events = heard(TextSpeech(), chunked(data, shares))
    assert {event.name for event in events} <= {"text_delta", "text_done"}
    assert joined("text_delta", events) == data.decode(errors="replace")
    assert joined("text_done", events) == data.decode(errors="replace")


@given(st.lists(st.binary(min_size=1, max_size=20) | st.none(), max_size=10))
def test_every_done_is_what_its_deltas_said(turns: list[bytes | None]) -> None:
    speech, events, offset = TextSpeech(), list[Event](), 0
    for data in turns:
        if data is None:
            events += speech.turn()
        else:
            events += speech.feed(offset, data)
            offset += len(data)
    events += speech.finish()
    since_done = ""
    for event in events:
        if event.name == "text_delta":
            since_done += event.data["text"]
        else:
            assert event.data["text"] == since_done != ""
            since_done = ""
    assert since_done == ""


def test_a_piece_is_told_as_soon_as_it_comes() -> None:
    speech = TextSpeech()
    assert speech.feed(0, b"hel") == [Event("text_delta", {"text": "hel"})]
    assert speech.feed(3, b"lo\n") == [Event("text_delta", {"text": "lo\n"})]
    assert speech.turn() == [Event("text_done", {"text": "hello\n"})]
    assert speech.turn() == []
    assert speech.finish() == []


def test_half_a_character_waits_for_its_other_half() -> None:
    speech = TextSpeech()
    assert speech.feed(0, b"a\xe2\x82") == [Event("text_delta", {"text": "a"})]
    assert speech.feed(3, b"\xac") == [Event("text_delta", {"text": "€"})]


def test_half_a_character_at_the_end_becomes_the_replacement_character() -> None:
    speech = TextSpeech()
    assert speech.feed(0, b"\xe2\x82") == []
    assert speech.finish() == [
        Event("text_delta", {"text": "\ufffd"}),
        Event("text_done", {"text": "\ufffd"}),
    ]


@pytest.mark.parametrize("chunk_bytes", [1 << 12, 64 << 10, 10 << 20])
def test_ten_mebibytes_without_a_newline_are_told_in_bounded_pieces(chunk_bytes: int) -> None:
    data = b"0123456789abcdef" * (10 << 16)
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    events = heard(TextSpeech(), chunks)
    assert joined("text_delta", events).encode() == joined("text_done", events).encode() == data
    sizes = {name: [len(event.data["text"]) for event in events if event.name == name] for name, _ in events}
    assert max(sizes["text_delta"]) <= EVENT_TEXT_CHARS_MAX
    assert max(sizes["text_done"]) <= DONE_CHARS_MAX


def test_an_input_is_its_lines() -> None:
    assert TextSpeech().encode(WorkerInput(content="one\ntwo é")) == "one\ntwo é\n".encode()
