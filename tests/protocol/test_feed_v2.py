"""Frames of version 2: the journal's bytes with one member more, and models that read what is sent."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.events import Event
from watchglass.protocol.feed_v2 import (
    PING_BYTES_MAX,
    RETRY_AFTER_MS_MAX,
    RETRY_AFTER_MS_MIN,
    Bookmark,
    Diagnostic,
    DiagnosticCode,
    End,
    EventsFrame,
    FrameV2,
    Reset,
    Sync,
    encode_control,
    envelopes_after,
    events_text,
    is_ping,
    retry_after_ms,
)
from watchglass.protocol.frames import encode_envelope
from watchglass.protocol.ready_frames import text_frame
from watchglass.store.run import Run

from support import json_values

FRAMES: TypeAdapter[FrameV2] = TypeAdapter(FrameV2)
TS = "2026-11-22T06:30:00.000001Z"
CURSOR = encode_cursor(1)


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    seqs = sorted(draw(st.sets(st.integers(1, (1 << 64) - 1), min_size=1, max_size=8)))
    return [encode_envelope(seq, "w", TS, Event("said", draw(json_values.objects))) for seq in seqs]


@settings(max_examples=40)
@given(lines(), st.integers(0, 9), st.booleans())
def test_an_events_frame_has_the_journals_bytes_and_the_chain(
    envelopes: list[bytes], before: int, replay: bool
) -> None:
    prev = encode_cursor(before)
    text = events_text(prev.encode(), envelopes, replay=replay)
    frame = FRAMES.validate_json(text)
    assert isinstance(frame, EventsFrame)
    assert frame.replay is replay
    assert [each.prev for each in frame.envelopes] == [prev, *(each.cursor for each in frame.envelopes[:-1])]
    for line, envelope in zip(envelopes, envelopes_after(prev.encode(), envelopes), strict=True):
        assert envelope.startswith(line[:-1] + b',"prev":"')
        assert envelope in text
        assert {**orjson.loads(envelope), "prev": 0} == {**orjson.loads(line), "prev": 0}


@settings(max_examples=40)
@given(lines())
def test_a_run_makes_its_frame_once_for_all_who_stand_at_the_same_place(envelopes: list[bytes]) -> None:
    run = Run(envelopes)
    here, there = CURSOR.encode(), encode_cursor(0).encode()
    assert run.events_frame(here) == text_frame(events_text(here, envelopes, replay=False))
    assert run.events_frame(here) is run.events_frame(here)
    assert run.events_frame(there) == text_frame(events_text(there, envelopes, replay=False))
    assert run.events_frame(here) is run.events_frame(here)


@pytest.mark.parametrize(
    "frame",
    [
        Sync(cursor=CURSOR),
        Bookmark(cursor=CURSOR),
        End(cursor=CURSOR),
        Reset(reason="ahead", requested="tail:1", oldest=CURSOR, head=CURSOR),
        Diagnostic(code=DiagnosticCode.STALLED, message="m", details={"a": 1}),
        Diagnostic(code=DiagnosticCode.UPSTREAM_CLOSED, message="m", retry_after_ms=300),
    ],
)
def test_what_is_said_is_read_back(frame: FrameV2) -> None:
    assert FRAMES.validate_json(encode_control(frame)) == frame  # type: ignore[arg-type]  # None is `events`.


def test_a_diagnostic_says_when_to_come_back_only_when_that_helps() -> None:
    final = orjson.loads(encode_control(Diagnostic(code=DiagnosticCode.CURSOR_EXPIRED, message="m")))
    assert set(final) == {"kind", "code", "message", "details"}


@given(st.floats(0, 1))
def test_who_comes_back_is_spread_out_within_bounds(dice: float) -> None:
    assert RETRY_AFTER_MS_MIN <= retry_after_ms(dice) <= RETRY_AFTER_MS_MAX
    assert (retry_after_ms(0), retry_after_ms(1)) == (RETRY_AFTER_MS_MIN, RETRY_AFTER_MS_MAX)
    middle_ms = (RETRY_AFTER_MS_MIN + RETRY_AFTER_MS_MAX) / 2
    assert (retry_after_ms(dice) <= middle_ms) == (dice <= 0.5) or retry_after_ms(dice) == middle_ms


@given(st.text(max_size=PING_BYTES_MAX))
def test_nothing_but_a_ping_is_one(text: str) -> None:
    assert not is_ping(text) or orjson.loads(text)["kind"] == "ping"


def test_a_ping_is_one() -> None:
    assert is_ping('{"kind":"ping"}')
    assert not is_ping("[" * PING_BYTES_MAX)
