"""An envelope is encoded once; frames carry its very bytes."""

from __future__ import annotations

import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from watchglass.protocol.cursor import SEQ_MAX, encode_cursor
from watchglass.protocol.events import Event
from watchglass.protocol.frames import (
    DiagnosticFrame,
    Envelope,
    EventFrame,
    FeedDiagnosticCode,
    Frame,
    decode_event,
    diagnostic_frame,
    encode_envelope,
    encode_snapshot,
    event_frame,
)

from support import json_values

TS = "2026-11-22T00:17:00.000001Z"
any_frame: TypeAdapter[EventFrame | DiagnosticFrame] = TypeAdapter(Frame)
seqs = st.integers(0, SEQ_MAX)


def test_an_envelope_is_the_contract_s_object() -> None:
    line = encode_envelope(0x2A, "w", TS, Event("text_delta", {"text": "hi"}))
    assert line == (
        b'{"cursor":"wo_000000000000002a","event_id":"wo_000000000000002a","worker_id":"w",'
        b'"ts":"2026-11-22T00:17:00.000001Z","payload":{"event":"text_delta","data":{"text":"hi"}}}'
    )


@pytest.mark.parametrize("size", [10, 50_000])
def test_a_kept_envelope_takes_the_room_of_its_bytes(size: int) -> None:
    event = Event("text_delta", {"text": "x" * size})
    tracemalloc.start()
    try:
        kept = [encode_envelope(seq, "w", TS, event) for seq in range(100)]
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken_bytes < 1.25 * sum(len(line) + 64 for line in kept)


@given(seqs, st.text(min_size=1, max_size=8), json_values.objects)
def test_whatever_was_said_is_read_back_the_same(seq: int, name: str, said: dict[str, object]) -> None:
    line = encode_envelope(seq, "w", TS, Event(name, said))
    read = orjson.loads(line)
    assert read["payload"] == {"event": name, "data": orjson.loads(orjson.dumps(said))}
    assert Envelope.model_validate_json(line).cursor == encode_cursor(seq)
    assert decode_event(line) == (name, read["payload"]["data"])


@given(seqs, json_values.objects)
def test_a_line_is_one_line(seq: int, said: dict[str, object]) -> None:
    assert b"\n" not in encode_envelope(seq, "w", TS, Event("line\nbreak", said))


@given(seqs, json_values.objects)
def test_an_event_frame_contains_the_very_bytes_of_the_envelope(seq: int, said: dict[str, object]) -> None:
    line = encode_envelope(seq, "w", TS, Event("x", said))
    frame = event_frame(line)
    assert line in frame
    assert frame == orjson.dumps({"kind": "event", "envelope": orjson.Fragment(line)})
    assert isinstance(any_frame.validate_json(frame), EventFrame)


def test_a_snapshot_has_a_cursor_to_resume_from_and_an_id_that_no_event_has() -> None:
    envelope = Envelope.model_validate_json(encode_snapshot(7, "w", TS, {"entries": []}))
    assert envelope.cursor == encode_cursor(7)
    assert envelope.event_id == f"snapshot:{encode_cursor(7)}"
    assert envelope.payload.event == "snapshot"


@pytest.mark.parametrize("code", FeedDiagnosticCode)
def test_a_diagnostic_frame_tells_its_reason_to_programs_and_to_people(code: FeedDiagnosticCode) -> None:
    frame = any_frame.validate_json(diagnostic_frame(code, 'because "so"'))
    assert isinstance(frame, DiagnosticFrame)
    assert frame.diagnostic.code is code
    assert frame.diagnostic.message == 'because "so"'


def test_the_diagnostic_codes_are_the_contract_s() -> None:
    assert {str(code).removeprefix("runtime.") for code in FeedDiagnosticCode} == {
        "cursor_malformed",
        "cursor_unknown_or_expired",
        "cursor_expired",
        "worker_not_found",
        "observation_only",
        "websocket_error",
        "unavailable",
        "upstream_closed",
        "serialize_failed",
    }


@given(st.integers(min_value=-(1 << 300), max_value=1 << 300))
def test_an_integer_of_any_size_is_encoded_exactly(number: int) -> None:
    line = encode_envelope(1, "w", TS, Event("x", {"n": number, "s": "ä\n"}))
    assert b"\n" not in line
    assert json.loads(line)["payload"]["data"] == {"n": number, "s": "ä\n"}


@pytest.mark.parametrize("number", [1 << 64, -(1 << 70), 10**400])
def test_an_event_with_an_integer_of_any_size_is_read_back(number: int) -> None:
    name, data = decode_event(encode_envelope(1, "w", TS, Event("text_done", {"text": "hi", "n": number})))
    assert (name, data["text"]) == ("text_done", "hi")


@pytest.mark.parametrize("said", [{"b": b"bytes"}, {"s": "\ud800"}, {"o": object()}])
def test_what_json_cannot_say_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        encode_envelope(1, "w", TS, Event("x", said))
