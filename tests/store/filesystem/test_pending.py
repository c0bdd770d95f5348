"""What waits for its segment: told by its own sizes, and read in the order of the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.store.base import Record
from watchglass.store.filesystem.pending import Pending

appends = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1000)), max_size=8)


def filled(sizes: list[tuple[int, int]]) -> tuple[Pending, list[list[Record]]]:
    """So many records an append, numbered on; and what was put in."""
    pending, put, newest = Pending(), list[list[Record]](), 0
    for count, size_bytes in sizes:
        records = [Record(Seq(newest + each), b"%d" % (newest + each)) for each in range(1, count + 1)]
        newest += count
        pending.add(records, None, size_bytes)
        put.append(records)
    return pending, put


@given(appends, st.integers(0, 8))
def test_its_sizes_are_those_of_what_is_left(sizes: list[tuple[int, int]], dropped: int) -> None:
    pending, put = filled(sizes)
    pending.drop(dropped)
    left = sizes[dropped:]
    assert [each.records for each in pending.appends] == put[dropped:]
    assert (pending.events, pending.size_bytes) == (sum(n for n, _ in left), sum(size for _, size in left))


@given(appends, st.integers(0, 40))
def test_a_reader_finds_what_follows_its_position(sizes: list[tuple[int, int]], after: int) -> None:
    pending, put = filled(sizes)
    expected = [record.line for records in put for record in records if record.seq > after]
    assert list(pending.lines_after(Seq(after))) == expected
