"""Speech `jsonl`: one JSON object a line; what is no event is output with the reason."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watchglass.protocol.base import NAME_CHARS_MAX
from watchglass.protocol.events import PROCESS_RESERVED, SHAPES, Event
from watchglass.protocol.frames import EventFrame, encode_envelope, event_frame
from watchglass.protocol.workers import WorkerInput
from watchglass.runtime.speech.jsonl import LINE_BYTES_MAX, NESTING_MAX, JsonlSpeech, has_long_number

from support import json_values
from support.streams import chunked, cuts, heard


def line(event: object, data: object = None) -> bytes:
    return orjson.dumps({"event": event} if data is None else {"event": event, "data": data}) + b"\n"


digits = st.text("0123456789", min_size=15, max_size=22).map(str.encode)


@given(st.lists(digits | st.binary(max_size=3) | st.sampled_from([b"-", b".", b"e", b","]), max_size=6))
@example([b"1" * 18, b"-", b"1" * 18])
@example([b"9" * 19])
def test_a_long_number_is_nineteen_digits_in_a_row(parts: list[bytes]) -> None:
    text = b"".join(parts)
    assert has_long_number(text) == (re.search(rb"[0-9]{19}", text) is not None)


said_lines = st.builds(
    line, st.text(min_size=1, max_size=9).filter(lambda name: name not in SHAPES), json_values.objects
)
streams = st.lists(
    said_lines
    | st.sampled_from([b"\n", b"\r\n", b"  \n", b"{\n", b'{"event":"text_delta","data":{"text":"hi"}}\r\n'])
    | st.binary(max_size=20),
    max_size=8,
).map(b"".join)


def output_of(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.data["offset"], event.data["text"]) for event in events if event.name == "output"]


def only(data: bytes) -> Event:
    [event] = heard(JsonlSpeech(), [data])
    return event


@given(streams, cuts())
@example(b'{"event":"a"}\r\n{"event":"b"}', [100, 200, 300, 400, 500, 600, 700, 800, 900])
def test_any_cut_of_any_bytes_gives_the_same_events(data: bytes, shares: list[int]) -> None:
    assert heard(JsonlSpeech(), chunked(data, shares)) == heard(JsonlSpeech(), [data])


@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), json_values.objects), max_size=5))
def test_an_event_of_an_unknown_name_is_passed_on_unchanged(said: list[tuple[str, dict[str, Any]]]) -> None:
    events = [Event(f"x-{name}", data) for name, data in said]
    data = b"".join(line(*event) for event in events)
    assert heard(JsonlSpeech(), [data]) == [
        Event(name, orjson.loads(orjson.dumps(kept))) for name, kept in events
    ]


@given(streams)
def test_every_line_that_is_not_blank_is_an_event_or_stands_in_the_output_at_its_place(data: bytes) -> None:
    events = heard(JsonlSpeech(), [data])
    offset = 0
    for each in data.split(b"\n"):
        whole = data[offset : offset + len(each) + 1]
        told = [text for place, text in output_of(events) if offset <= place < offset + len(whole)]
        assert "".join(told) in {"", whole.decode(errors="replace")}
        if told == [] and each.strip():
            assert orjson.loads(each)["event"] in {event.name for event in events}
        offset += len(whole)


def test_an_event_comes_when_its_line_is_complete() -> None:
    speech = JsonlSpeech()
    assert speech.feed(0, b'{"event":"text_delta",') == []
    assert speech.feed(22, b'"data":{"text":"hi"}}\n{"ev') == [Event("text_delta", {"text": "hi"})]
    assert speech.finish()[0].name == "output"


def test_data_may_be_left_out_when_nothing_of_it_is_required() -> None:
    assert only(line("shutdown")) == Event("shutdown", {})


def test_a_last_line_needs_no_newline() -> None:
    assert only(line("shutdown").rstrip()) == Event("shutdown", {})


@pytest.mark.parametrize("data", [b"\n", b"\r\n", b" \t\n", b"\n\n\r\n", b""])
def test_blank_lines_say_nothing(data: bytes) -> None:
    assert heard(JsonlSpeech(), [data]) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello\n", "not a JSON object"),
        (b"\x0c{}\n", "not a JSON object"),
        (b" \t{\r\n", "not JSON"),
        (b'{"event":"x"\n', "not JSON"),
        (b'{"event":"\xff"}\n', "not JSON"),
        (b'{"event":"x","data":{"n":NaN}}\n', "not JSON"),
        (b'{"event":"x","data":{"s":"\\ud800"}}\n', "not JSON"),
        (b"[]\n", "not a JSON object"),
        (b'"x"\n', "not a JSON object"),
        (b"{}\n", "event: a name"),
        (b'{"event":5}\n', "event: a name"),
        (b'{"event":" "}\n', "event: a name"),
        (line("x" * (NAME_CHARS_MAX + 1)), "event: a name"),
        (line("x", []), "data: not a JSON object"),
        (b'{"event":"x","data":null}\n', "data: not a JSON object"),
        (line("text_delta", {"text": 1}), "data.text: input should be a valid string (event 'text_delta')"),
        (line("text_delta"), "data.text: field required (event 'text_delta')"),
        *(
            (line(name), f"event '{name}' is written by the runtime alone")
            for name in sorted(PROCESS_RESERVED)
        ),
        (line("status", {"status": "busy", "phase": "stopped"}), "data.phase: "),
    ],
)
def test_a_line_that_is_no_event_is_output_with_the_reason(data: bytes, reason: str) -> None:
    event = only(data)
    assert event.name == "output"
    assert event.data["text"].encode() == data.replace(b"\xff", "\ufffd".encode())
    assert event.data["reason"].startswith(reason)


def test_what_follows_an_unreadable_line_is_read() -> None:
    events = heard(JsonlSpeech(), [b"oops\n" + line("shutdown")])
    assert [event.name for event in events] == ["output", "shutdown"]


@pytest.mark.parametrize("depth", [100, 126, 127, 250, 253, 300, 900, 2000, 50_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_whatever_is_read_can_be_journalled_and_observed_however_deeply_it_is_nested(
    depth: int, brackets: tuple[bytes, bytes]
) -> None:
    opening, closing = brackets
    data = b'{"event":"x","data":{"deep":' + opening * depth + b"1" + closing * depth + b"}}\n"
    events = heard(JsonlSpeech(), [data])
    for event in events:
        envelope = encode_envelope(1, "w", "now", event)
        assert EventFrame.model_validate_json(event_frame(envelope)).kind == "event"
    if depth + 2 > NESTING_MAX:
        assert "".join(text for _, text in output_of(events)).encode() == data
    else:
        assert [event.name for event in events] == ["x"]


@given(st.integers(min_value=-(1 << 200), max_value=1 << 200))
def test_an_integer_of_any_size_is_passed_on_exactly(number: int) -> None:
    event = only(b'{"event":"x","data":{"n":%d,"s":"\xc3\xa4"}}\n' % number)
    assert json.loads(encode_envelope(1, "w", "now", event))["payload"]["data"] == {"n": number, "s": "ä"}


def test_an_agent_may_tell_its_own_status() -> None:
    assert only(line("status", {"status": "thinking"})) == Event("status", {"status": "thinking"})


@pytest.mark.parametrize("over_bytes", [0, 1])
@pytest.mark.parametrize("chunk_bytes", [1000, 64 << 10, 1 << 20])
def test_the_longest_line_is_an_event_and_a_longer_one_is_output(over_bytes: int, chunk_bytes: int) -> None:
    frame = len(line("x", {"text": ""}))
    data = line("x", {"text": "a" * (LINE_BYTES_MAX - frame + over_bytes)}) + line("shutdown")
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    events = heard(JsonlSpeech(), chunks)
    assert events[-1] == Event("shutdown", {})
    assert {event.name for event in events[:-1]} == ({"output"} if over_bytes else {"x"})


@pytest.mark.parametrize("chunk_bytes", [1 << 12, 64 << 10, 11 << 20])
def test_a_line_of_ten_mebibytes_is_output_whole_and_the_next_line_is_read(chunk_bytes: int) -> None:
    long = b"\xc3\xa9" * (5 << 20) + b"\n"
    data = line("a", {}) + long + line("b", {})
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    events = heard(JsonlSpeech(), chunks)
    assert [event.name for event in (events[0], events[-1])] == ["a", "b"]
    offset = len(line("a", {}))
    for place, text in output_of(events):
        assert place == offset
        offset += len(text.encode())
    assert "".join(text for _, text in output_of(events)).encode() == long


def test_an_unfinished_overlong_line_is_given_up_at_the_end() -> None:
    data = b"x" * (LINE_BYTES_MAX + 5)
    events = heard(JsonlSpeech(), [data])
    assert "".join(text for _, text in output_of(events)).encode() == data
    assert {event.data["reason"] for event in events} == {f"a line over {LINE_BYTES_MAX} bytes"}


def test_an_input_is_one_line_of_json() -> None:
    said = JsonlSpeech().encode(WorkerInput(kind="system", content="a\n€"))
    assert said.count(b"\n") == 1
    assert orjson.loads(said) == {"kind": "system", "content": "a\n€"}


def test_an_agent_closes_its_text_itself() -> None:
    speech = JsonlSpeech()
    speech.feed(0, line("text_delta", {"text": "hi"}))
    assert speech.turn() == []
