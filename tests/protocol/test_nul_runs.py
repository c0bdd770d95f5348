"""Runs of NUL are encoded in one go, to the same bytes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watchglass.protocol.events import Event
from watchglass.protocol.frames import decode_event, encode_envelope
from watchglass.protocol.nul_runs import TEXT_CHARS_MIN, dumps_with_runs, has_nul_runs

nuls = st.integers(0, 200).map(lambda count: "\0" * count)
texts = st.lists(nuls | st.text(max_size=9), max_size=12).map("".join)


@given(text=texts, before=st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2))
@example(text="\0" * 64, before={})
@example(text="", before={"text": 1})
def test_it_says_what_the_encoder_would(text: str, before: dict[str, Any]) -> None:
    data = {**before, "text": text, "offset": 5}
    assert dumps_with_runs(data) == orjson.dumps(data)


@pytest.mark.parametrize("text", [None, 5, ["\0" * 64] * TEXT_CHARS_MIN, "\0" * 99, "x" * 9999, "\0x" * 9999])
def test_whatever_the_text_is_an_envelope_says_what_the_encoder_would(text: object) -> None:
    line = encode_envelope(1, "w", "now", Event("output", {"text": text}))
    assert line.endswith(b'"data":%b}}' % orjson.dumps({"text": text}))


@pytest.mark.parametrize("number", [5, 1 << 70])
def test_an_event_of_nuls_comes_back_as_it_was(number: int) -> None:
    event = Event("output", {"text": "a" + "\0" * TEXT_CHARS_MIN + "b", "offset": number})
    assert has_nul_runs(event.data["text"])
    line = encode_envelope(1, "w", "now", event)
    assert decode_event(line) == Event("output", {**event.data, "offset": orjson.loads(str(number))})
    assert line.count(b"\\u0000") == TEXT_CHARS_MIN
