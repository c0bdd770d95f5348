"""A cursor is a sequence as text, and sorts like it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING, SEQ_MAX, Seq, decode_cursor, encode_cursor, next_seq
from watchglass.protocol.errors import CursorMalformed

seqs = st.integers(BEGINNING, SEQ_MAX)


def test_a_cursor_is_wo_and_sixteen_lower_case_hex_digits() -> None:
    assert encode_cursor(0) == "wo_0000000000000000"
    assert encode_cursor(0x1A2B) == "wo_0000000000001a2b"
    assert encode_cursor(SEQ_MAX) == "wo_ffffffffffffffff"


@given(seqs)
@example(BEGINNING)
@example(SEQ_MAX)
def test_every_64_bit_sequence_survives_the_way_to_text_and_back(seq: int) -> None:
    assert decode_cursor(encode_cursor(seq)) == seq


@given(seqs, seqs)
def test_cursors_sort_as_text_as_they_do_as_numbers(one: int, other: int) -> None:
    assert (encode_cursor(one) < encode_cursor(other)) == (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wo_",
        "0000000000001a2b",
        "wo_000000000001a2b",
        "wo_00000000000001a2b",
        "wo_0000000000001A2B",
        "WO_0000000000001a2b",
        "wo_0000000000001a2g",
        "wo_-000000000001a2b",
        "wo_0x00000000001a2b",
        "wo_0000000000001a2b\n",
        " wo_0000000000001a2b",
        "wo_00000000000\uff101a2b",
        "snapshot:wo_0000000000001a2b",
        "earliest",
    ],
)
def test_anything_else_is_malformed_and_the_refusal_shows_it(text: str) -> None:
    with pytest.raises(CursorMalformed) as refused:
        decode_cursor(text)
    assert repr(text) in str(refused.value)


@given(st.text())
def test_whatever_is_accepted_is_exactly_what_would_be_written(text: str) -> None:
    try:
        seq = decode_cursor(text)
    except CursorMalformed:
        return
    assert encode_cursor(seq) == text


def test_a_long_malformed_cursor_is_cut_in_its_refusal() -> None:
    with pytest.raises(CursorMalformed) as refused:
        decode_cursor("x" * 1_000_000)
    assert len(str(refused.value)) < 300


@given(seqs, st.integers(0, SEQ_MAX))
def test_the_next_sequence_is_the_clock_unless_the_clock_does_not_grow(previous: int, now_us: int) -> None:
    after = next_seq(previous, now_us)
    assert after > previous
    assert after == (now_us if now_us > previous else previous + 1)


def test_the_beginning_is_before_every_event() -> None:
    assert next_seq(BEGINNING, now_us=0) > Seq(BEGINNING)
