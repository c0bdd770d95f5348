"""A stream that is no speech: every byte is `output`, at its exact place."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watchglass.protocol.events import Event, shape_fault
from watchglass.runtime.speech import PlainStream
from watchglass.runtime.speech.base import EVENT_TEXT_CHARS_MAX

from support.streams import chunked, cuts, heard


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), cuts())
@example("é€😀".encode(), [100, 200, 300, 400, 500, 600, 700, 800, 900])
def test_any_cut_of_any_bytes_gives_the_text_of_the_whole(data: bytes, shares: list[int]) -> None:
    events = heard(PlainStream("stderr"), chunked(data, shares))
    assert "".join(event.data["text"] for event in events) == data.decode(errors="replace")
    assert all(shape_fault(event) is None for event in events)


@given(st.text(max_size=100), cuts())
def test_an_offset_is_the_place_of_the_text_in_the_raw_log(text: str, shares: list[int]) -> None:
    data = text.encode()
    expected = 0
    for event in heard(PlainStream("stderr"), chunked(data, shares)):
        said = event.data["text"].encode()
        assert event.data["offset"] == expected
        assert data[expected : expected + len(said)] == said
        expected += len(said)
    assert expected == len(data)


@given(st.binary(max_size=100), cuts())
def test_offsets_never_go_back_nor_past_the_end_whatever_the_bytes_are(
    data: bytes, shares: list[int]
) -> None:
    offsets = [event.data["offset"] for event in heard(PlainStream("stderr"), chunked(data, shares))]
    assert offsets == sorted(offsets)
    assert all(0 <= offset < len(data) for offset in offsets)


def test_a_stream_may_begin_anywhere_in_its_log() -> None:
    assert PlainStream("stdout").feed(1000, b"late") == [
        Event("output", {"stream": "stdout", "text": "late", "offset": 1000})
    ]


def test_a_stream_that_should_have_been_speech_says_why_it_is_not() -> None:
    [event] = PlainStream("stdout", "not JSON").feed(0, b"x")
    assert event.data == {"stream": "stdout", "text": "x", "offset": 0, "reason": "not JSON"}


@pytest.mark.parametrize("piece", ["x", "€"])
def test_a_large_chunk_becomes_several_events_of_a_bounded_size(piece: str) -> None:
    data = (piece * (200 << 10)).encode()
    events = heard(PlainStream("stderr"), [data])
    assert len(events) > 1
    assert max(len(event.data["text"]) for event in events) <= EVENT_TEXT_CHARS_MAX
    assert "".join(event.data["text"] for event in events).encode() == data
