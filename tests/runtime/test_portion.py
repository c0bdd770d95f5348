"""A turn is short for a worker of many small events, and brings much of one of few."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.runtime.portion import BYTES_MAX, BYTES_MIN, EVENTS_MAX, Portion


@given(st.lists(st.integers(0, 1 << 16)))
def test_it_never_leaves_its_bounds(heard: list[int]) -> None:
    portion = Portion()
    for events in heard:
        portion.became(events)
        assert BYTES_MIN <= portion.size_bytes <= BYTES_MAX


@given(before=st.lists(st.integers(0, 1 << 16), max_size=20), line_bytes=st.integers(1, 1 << 12))
def test_after_one_portion_of_even_lines_the_next_ones_are_no_more_events_than_may_be(
    before: list[int], line_bytes: int
) -> None:
    """And no fewer bytes than half of what would be as many."""
    portion = Portion()
    for events in before:
        portion.became(events)
    portion.became(portion.size_bytes // line_bytes)
    for _ in range(20):
        events = portion.size_bytes // line_bytes
        assert events <= EVENTS_MAX
        portion.became(events)
    assert portion.size_bytes == BYTES_MAX or 2 * portion.size_bytes >= EVENTS_MAX * line_bytes * 0.99


def test_output_of_few_events_is_soon_taken_in_full_portions() -> None:
    portion = Portion()
    for _ in range(4):
        portion.became(2)
    assert portion.size_bytes == BYTES_MAX
