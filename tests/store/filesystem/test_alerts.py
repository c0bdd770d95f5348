"""Where an alert for lost events belongs: in the hole that they left, or nowhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING, SEQ_MAX, Seq
from watchglass.store.filesystem.alerts import seq_between

seqs = st.one_of(st.integers(0, 9), st.integers(0, SEQ_MAX - 1)).map(Seq)


@given(seqs, st.integers(1, 5), seqs)
def test_it_lies_strictly_between_its_neighbours_unless_there_is_no_room(
    before: Seq, distance: int, wanted: Seq
) -> None:
    after = Seq(before + distance)
    found = seq_between(before, after, wanted)
    assert (found is None) == (distance == 1)
    assert found is None or before < found < after


@given(seqs, seqs)
def test_where_nothing_follows_there_is_always_room(before: Seq, wanted: Seq) -> None:
    found = seq_between(before, BEGINNING, wanted)
    assert found is not None
    assert found > before


@given(seqs, st.integers(1, 9), st.integers(1, 9))
def test_it_is_the_one_that_is_wanted_where_that_lies_in_the_hole(
    before: Seq, ahead: int, behind: int
) -> None:
    wanted = Seq(before + ahead)
    assert seq_between(before, Seq(wanted + behind), wanted) == wanted
    assert seq_between(before, BEGINNING, wanted) == wanted
