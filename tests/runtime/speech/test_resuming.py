"""A machine that takes over at `spoken_bytes` says what the one before it would have said."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.events import Event
from watchglass.runtime.speech import PlainStream, Resumed, Speech
from watchglass.runtime.speech.jsonl import LINE_BYTES_MAX, JsonlSpeech
from watchglass.runtime.speech.text import TextSpeech

from support.streams import chunked, cuts

lines = st.builds(
    lambda text: orjson.dumps({"event": "x-said", "data": {"text": text}}) + b"\n", st.text(max_size=9)
)
streams = st.lists(
    lines | st.text(max_size=9).map(str.encode) | st.binary(max_size=9) | st.just(b"\n"), max_size=9
).map(b"".join)


def taken_over(data: bytes, at: int, shares: list[int], kind: type[TextSpeech | JsonlSpeech]) -> list[Event]:
    """What two machines say, of which the second knows only what the first one left behind."""
    first = kind()
    events: list[Event] = []
    offset = 0
    for chunk in chunked(data[:at], shares):
        events += first.feed(offset, chunk)
        offset += len(chunk)
    spoken = first.spoken_bytes
    assert spoken <= at
    open_text = "".join(event.data["text"] for event in _since_done(events)) if kind is TextSpeech else ""
    mid_line = spoken > 0 and data[spoken - 1 : spoken] != b"\n"
    second: Speech = kind(Resumed(spoken_bytes=spoken, open_text=open_text, mid_line=mid_line))
    assert second.spoken_bytes == spoken
    events += second.feed(spoken, data[spoken:])
    assert second.spoken_bytes <= len(data)
    events += second.finish()
    assert second.spoken_bytes == len(data)
    return events


def _joined(events: list[Event], name: str) -> str:
    return "".join(event.data["text"] for event in events if event.name == name)


def _since_done(events: list[Event]) -> list[Event]:
    done = [place for place, event in enumerate(events) if event.name == "text_done"]
    return events[done[-1] + 1 :] if done else events


def whole(data: bytes, kind: type[TextSpeech | JsonlSpeech]) -> list[Event]:
    machine = kind()
    return [*machine.feed(0, data), *machine.finish()]


@given(streams, st.integers(0, 200), cuts())
def test_jsonl_says_every_line_once(data: bytes, at: int, shares: list[int]) -> None:
    assert taken_over(data, at, shares, JsonlSpeech) == whole(data, JsonlSpeech)


@given(streams, st.integers(0, 200), cuts())
def test_text_loses_and_repeats_no_character(data: bytes, at: int, shares: list[int]) -> None:
    said, wanted = taken_over(data, at, shares, TextSpeech), whole(data, TextSpeech)
    for name in ("text_delta", "text_done"):
        texts = [
            "".join(event.data["text"] for event in each if event.name == name) for each in (said, wanted)
        ]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("at", [LINE_BYTES_MAX, LINE_BYTES_MAX + 1, LINE_BYTES_MAX + 77])
def test_the_rest_of_an_overlong_line_stays_output(at: int) -> None:
    data = b"x" * (LINE_BYTES_MAX + 60) + b' {"event":"no-event"}\n{"event":"x-next"}\n'
    said = taken_over(data, at, [], JsonlSpeech)
    assert {event.name for event in said[:-1]} == {"output"}
    assert "".join(event.data["text"] for event in said[:-1]).encode() == data[: data.index(b"\n") + 1]
    assert said[-1] == Event("x-next", {})


@given(st.text(max_size=30).map(str.encode) | st.binary(max_size=30), st.integers(0, 30))
def test_a_plain_stream_repeats_no_byte(data: bytes, at: int) -> None:
    first = PlainStream("stderr")
    events = list(first.feed(0, data[:at]))
    second = PlainStream("stderr", start=first.spoken_bytes)
    events += [*second.feed(first.spoken_bytes, data[first.spoken_bytes :]), *second.finish()]
    assert "".join(event.data["text"] for event in events) == data.decode(errors="replace")
    assert second.spoken_bytes == len(data)
