"""Marks find the beginning of an entry, and are as many as they may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.runtime.marks import Mark, Marks

bounds = st.integers(1, 9)


def marked(count: int, far_max: int = 4, near_max: int = 3) -> Marks:
    """Entry `n` begins with event 10 * n + 1."""
    marks = Marks(far_max, near_max)
    for entry in range(count):
        marks.add(entry, Seq(10 * entry + 1), entry % 2 == 0)
    return marks


@given(st.integers(0, 200), bounds, bounds)
def test_there_are_at_most_as_many_as_allowed_and_the_newest_are_all_there(
    count: int, far_max: int, near_max: int
) -> None:
    marks = marked(count, far_max, near_max)
    assert len(marks) == len(list(marks)) <= far_max + near_max
    near = range(max(0, count - near_max), count)
    assert [marks.at(entry).entry for entry in near] == list(near)


@given(st.integers(1, 200), bounds, bounds)
def test_the_mark_of_an_entry_is_the_nearest_at_or_before_it(count: int, far_max: int, near_max: int) -> None:
    marks = marked(count, far_max, near_max)
    for entry in range(count):
        mark = marks.at(entry)
        assert entry - marks.spacing < mark.entry <= entry
        assert mark == Mark(mark.entry, Seq(10 * mark.entry + 1), mark.entry % 2 == 0)


def test_all_entries_are_marked_until_there_are_too_many() -> None:
    assert marked(7).spacing == 1
    assert [mark.entry for mark in marked(7)] == [0, 1, 2, 3, 4, 5, 6]
    assert marked(8).spacing == 2
    assert [mark.entry for mark in marked(8)] == [0, 2, 4, 5, 6, 7]


@given(st.integers(0, 100), bounds, bounds, st.integers(0, 1000))
def test_dropped_are_those_that_begin_at_or_before(
    count: int, far_max: int, near_max: int, through: int
) -> None:
    marks = marked(count, far_max, near_max)
    kept = [mark for mark in marks if mark.begins > through]
    marks.drop_through(Seq(through))
    assert list(marks) == kept
    assert marks.oldest == (kept[0].entry if kept else None)


def test_when_most_were_dropped_new_marks_are_close_again() -> None:
    marks = marked(100, far_max=8)
    assert marks.spacing > 1
    marks.drop_through(Seq(10 * 97 + 1))
    for entry in range(100, 108):
        marks.add(entry, Seq(10 * entry + 1), False)
    assert [mark.entry for mark in marks] == list(range(98, 108))


@given(st.integers(0, 100), bounds, bounds)
def test_marks_are_rebuilt_from_what_they_were(count: int, far_max: int, near_max: int) -> None:
    marks = marked(count, far_max, near_max)
    again = Marks(far_max, near_max, list(marks), marks.spacing)
    for entry in range(count, count + 50):
        for both in (marks, again):
            both.add(entry, Seq(10 * entry + 1), False)
    assert list(again) == list(marks)
