"""A filter reads names out of bytes; it finds what a parser finds."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.event_filter import EventFilter, event_name
from watchglass.protocol.events import Event
from watchglass.protocol.frames import encode_envelope

from support import json_values

NAMES = st.one_of(
    st.sampled_from(
        ["end", "text_delta", 'q"', "back\\", '\\"', '","payload":{"event":"end', "e", "é\n", ""]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
IDS = st.text("abz019._-", min_size=1, max_size=40)
TS = "2026-11-22T06:30:00.000001Z"


@given(IDS, NAMES, json_values.objects, st.integers(0, (1 << 64) - 1))
def test_the_name_of_an_event_is_found(worker_id: str, name: str, data: dict[str, object], seq: int) -> None:
    assert event_name(encode_envelope(seq, worker_id, TS, Event(name, data))) == name


@given(st.lists(st.tuples(NAMES, IDS), max_size=20), st.sets(NAMES, min_size=1, max_size=4))
def test_exactly_the_wanted_names_pass_in_order(said: list[tuple[str, str]], wanted: set[str]) -> None:
    lines = [
        encode_envelope(seq, worker_id, TS, Event(name, {"event": "end", "x": '"payload":{"event":"end"'}))
        for seq, (name, worker_id) in enumerate(said)
    ]
    expected = [line for line in lines if orjson.loads(line)["payload"]["event"] in wanted]
    assert EventFilter(wanted).passing(lines) == expected
