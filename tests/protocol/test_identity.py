"""Ids sort by creation, fit a URL and a file name, and are bounded."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from watchglass.protocol.base import ID_CHARS_MAX
from watchglass.protocol.errors import InvalidWorkerId
from watchglass.protocol.identity import RANDOM_BITS, WorkerRef, generated_id, id_fault, parse_worker_id

times_us = st.integers(0, (1 << 60) - 1)
random_bits = st.integers(0, (1 << RANDOM_BITS) - 1)


@given(times_us, times_us, random_bits, random_bits)
def test_generated_ids_sort_by_the_time_of_their_creation(one: int, other: int, r1: int, r2: int) -> None:
    if one != other:
        assert (generated_id("wk", one, r1) < generated_id("wk", other, r2)) == (one < other)


@given(times_us, random_bits, random_bits)
def test_ids_of_the_same_microsecond_differ_by_their_random_part(time_us: int, r1: int, r2: int) -> None:
    assert (generated_id("wk", time_us, r1) == generated_id("wk", time_us, r2)) == (r1 == r2)


@given(times_us, random_bits)
def test_a_generated_id_is_an_id_and_tells_its_kind(time_us: int, bits: int) -> None:
    made = generated_id("wk", time_us, bits)
    assert made.startswith("wk-")
    assert parse_worker_id(made) == made


def test_a_generated_id_looks_like_this() -> None:
    assert generated_id("rt", 0, 0) == "rt-000000000000-00000000"
    assert generated_id("rt", 33, 31) == "rt-000000000011-0000000z"


@given(st.text(max_size=20))
@example(".")
@example("..")
@example("a/b")
@example("a\n")
def test_an_accepted_id_needs_no_quoting_in_a_url_and_names_one_file(text: str) -> None:
    if id_fault(text) is None:
        assert quote(text, safe="") == text
        assert (PurePosixPath("/workers") / text).parts == ("/", "workers", text)
        assert text not in {".", ".."}


@pytest.mark.parametrize("text", ["a", "A.b_c-9", "...", ".hidden", "-flag", "x" * ID_CHARS_MAX])
def test_letters_digits_dot_underscore_and_hyphen_make_an_id(text: str) -> None:
    assert parse_worker_id(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must not be blank"),
        (" \t", "must not be blank"),
        ("x" * (ID_CHARS_MAX + 1), f"has 129 characters, and {ID_CHARS_MAX} is the most"),
        (".", "must not be '.' or '..'"),
        ("..", "must not be '.' or '..'"),
        ("a b", "may have letters"),
        ("a/b", "may have letters"),
        ("a%2Fb", "may have letters"),
        ("a\0", "may have letters"),
        ("a\n", "may have letters"),
        ("é", "may have letters"),
    ],
)
def test_any_other_id_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidWorkerId) as refused:
        parse_worker_id(text)
    assert reason in str(refused.value)
    assert refused.value.value == text


def test_authority_is_never_less_than_both_ids() -> None:
    with pytest.raises(ValidationError):
        WorkerRef.model_validate({"worker_id": "w"})
    with pytest.raises(ValidationError):
        WorkerRef.model_validate({"runtime_id": " ", "worker_id": "w"})
    assert WorkerRef(runtime_id="r", worker_id="w").model_dump() == {"runtime_id": "r", "worker_id": "w"}
