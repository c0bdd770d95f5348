"""Sequences grow strictly, whatever the clock does."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.events import Event
from watchglass.store.numbering import Numbering, rfc3339

from support.clock import Clock
from support.stores import said


@given(st.lists(st.tuples(st.integers(0, 1 << 50), st.integers(0, 4)), max_size=20))
def test_sequences_grow_over_a_clock_that_jumps_stands_still_and_goes_back(
    steps: list[tuple[int, int]],
) -> None:
    clock = Clock()
    numbering = Numbering(clock)
    given_out: list[int] = []
    for now_us, count in steps:
        clock.now_us = now_us
        given_out += [record.seq for record in numbering.encode("w", said(*"x" * count))]
    assert given_out == sorted(set(given_out))


def test_a_sequence_is_the_time_when_the_time_allows() -> None:
    clock = Clock(1000)
    numbering = Numbering(clock)
    assert [record.seq for record in numbering.encode("w", said("a", "b"))] == [1000, 1001]
    assert [record.seq for record in numbering.encode("w", said("c"))] == [1002]
    clock.now_us = 5000
    assert [record.seq for record in numbering.encode("w", said("d"))] == [5000]


def test_a_restored_numbering_goes_on_after_the_last_sequence() -> None:
    numbering = Numbering(Clock(5), last=Seq(1000))
    assert [record.seq for record in numbering.encode("w", said("a"))] == [1001]


def test_an_event_that_json_cannot_say_uses_no_sequence() -> None:
    numbering = Numbering(Clock(10))
    with pytest.raises(InvalidRequest, match="event 'bad': data cannot be encoded as JSON"):
        numbering.encode("w", [*said("a"), Event("bad", {"s": "\ud800"})])
    assert [record.seq for record in numbering.encode("w", said("b"))] == [10]


def test_an_envelope_carries_the_time_even_when_its_sequence_runs_ahead() -> None:
    numbering = Numbering(Clock(1_000_000), last=Seq(9_000_000))
    [record] = numbering.encode("w", said("a"))
    assert orjson.loads(record.line)["ts"] == "1970-01-01T00:00:01.000000Z"


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1_763_770_620_000_042, "2025-11-22T00:17:00.000042Z"),
        (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_utc_with_microseconds(time_us: int, text: str) -> None:
    assert rfc3339(time_us) == text


def test_what_somebody_else_has_issued_is_passed_by() -> None:
    numbering = Numbering(Clock(100))
    numbering.pass_by(Seq(500))
    numbering.pass_by(Seq(300))
    assert [record.seq for record in numbering.encode("w", said("a", "b"))] == [501, 502]
