"""A run is a list of records that are made when they are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import SEQ_MAX, Seq
from watchglass.protocol.events import Event
from watchglass.protocol.frames import encode_envelope
from watchglass.protocol.ready_frames import ready_frames
from watchglass.store.run import Record, Run, count_within, first_after

some_seqs = st.lists(st.integers(1, SEQ_MAX), unique=True, max_size=6).map(sorted)


def records_of(seqs: list[int]) -> list[Record]:
    return [Record(Seq(seq), encode_envelope(seq, "w", "ts", Event("e", {}))) for seq in seqs]


def run_of(records: list[Record]) -> Run:
    return Run([record.line for record in records])


@given(some_seqs, st.integers(-7, 7), st.integers(-7, 7))
def test_a_run_is_as_the_list_of_its_records(seqs: list[int], start: int, end: int) -> None:
    records = records_of(seqs)
    run = run_of(records)
    assert list(run) == records
    assert all(type(record) is Record for record in run)
    assert (len(run), bool(run)) == (len(records), bool(records))
    assert run == records == run
    assert run == tuple(records)
    assert run == run_of(records)
    assert run[start:end] == records[start:end]
    assert [run[place] for place in range(len(run))] == records
    if records:
        assert (run.last, run[-1]) == (records[-1].seq, records[-1])
        assert run != records[:-1]
        assert run != run_of(records[:-1])


def test_a_run_of_nothing_has_no_last_event() -> None:
    assert Run(()) == []
    with pytest.raises(IndexError):
        _ = Run(()).last


def test_a_run_is_no_key_and_equals_nothing_else() -> None:
    assert Run(()) != "" != Run(())
    with pytest.raises(TypeError, match="unhashable"):
        hash(Run(()))


def test_its_frames_are_those_of_its_lines() -> None:
    run = run_of(records_of([1, 2, 3]))
    assert run.frames() == ready_frames(run.lines)


@given(some_seqs, st.integers(0, SEQ_MAX))
def test_the_first_line_behind_a_position_is_found(seqs: list[int], after: int) -> None:
    lines = run_of(records_of(seqs)).lines
    assert first_after(lines, Seq(after)) == sum(seq <= after for seq in seqs)


@given(st.lists(st.integers(1, 9)), st.integers(0, 40))
def test_as_many_lines_are_counted_as_fit(sizes: list[int], max_bytes: int) -> None:
    fitting = [count for count in range(len(sizes) + 1) if sum(sizes[:count]) <= max_bytes]
    assert count_within([b"x" * size for size in sizes], max_bytes) == fitting[-1]
