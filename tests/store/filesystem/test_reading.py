"""Reading segments: any place, any size, any damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreCorrupt
from watchglass.store.base import Record, StreamOffsets
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.reading import SegmentReader, survey
from watchglass.store.filesystem.replay import Bounds, read_segments
from watchglass.store.filesystem.segment import BEGIN, Opening, Place, Segment, SegmentWriter
from watchglass.store.numbering import Numbering
from watchglass.store.run import Run, first_after

from support.clock import Clock
from support.stores import said


def written(
    folder: Path, appends: list[list[int]], *, io_every: int = 3
) -> tuple[Segment, list[list[Record]]]:
    """A segment with an append of events of these sizes each."""
    numbering = Numbering(Clock(1000))
    records = [numbering.encode("w", said(*("x" * size for size in sizes))) for sizes in appends]
    segment = Segment(str(folder), records[0][0].seq, opening=Opening(Seq(7), 3, StreamOffsets(1, 2, 3)))
    writer = SegmentWriter(Files(), segment)
    for number, each in enumerate(records):
        writer.write(each, StreamOffsets(number, number, number) if number % io_every == 0 else None)
    writer.rest()
    return segment, records


def all_of(records: list[list[Record]]) -> list[Record]:
    return [record for each in records for record in each]


sizes = st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=5), min_size=1, max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(appends=sizes, data=st.data())
def test_a_search_finds_what_follows_any_position(
    tmp_path: Path, appends: list[list[int]], data: st.DataObject
) -> None:
    Path(segment_path := written(tmp_path, appends)[0].path).unlink()
    segment, records = written(tmp_path, appends)
    assert segment.path == segment_path
    flat = all_of(records)
    after = data.draw(st.sampled_from([0, *(record.seq + step for record in flat for step in (-1, 0))]))
    bounds = Bounds(data.draw(st.integers(1, 600)), data.draw(st.integers(1, 9000)))
    taken: list[bytes] = []
    position, reached = Seq(max(after, 7)), None
    while True:
        found, reached = read_segments(Files(), [segment], position, reached, bounds)
        if not found:
            break
        taken += found
        position = Run(found).last
    lines = [record.line for record in flat]
    assert taken == lines[first_after(lines, Seq(after)) :]
    Path(segment.path).unlink()


def test_a_search_in_a_large_append_and_behind_it(tmp_path: Path) -> None:
    segment, records = written(tmp_path, [[10], [500] * 3000, [10], [10]])
    flat = all_of(records)
    for place in (0, 1, 1500, 3000, 3001, 3002):
        found, _ = read_segments(Files(), [segment], flat[place].seq, None, Bounds(5, 1 << 20))
        assert Run(found) == flat[place + 1 : place + 6]


@pytest.mark.parametrize("appends", [[[3], [1, 1], [2], [0]]])
def test_a_survey_believes_no_flipped_bit(tmp_path: Path, appends: list[list[int]]) -> None:
    segment, records = written(tmp_path, appends)
    whole = Path(segment.path).read_bytes()
    seen = survey(whole)
    assert (seen.end.offset, seen.head, seen.events) == (len(whole), all_of(records)[-1].seq, 5)
    assert (seen.offsets, seen.bad_offset) == (StreamOffsets(3, 3, 3), None)
    for place in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        hurt = survey(bytes(damaged))
        assert hurt.events < 5 or hurt.opening is None
        assert hurt.bad_offset is not None or hurt.end.offset < len(whole)


def test_a_survey_of_a_part_gives_whole_appends(tmp_path: Path) -> None:
    segment, _ = written(tmp_path, [[3], [1, 1], [2], [0]])
    whole = Path(segment.path).read_bytes()
    counts = [survey(whole[:size]).events for size in range(len(whole) + 1)]
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 3, 4, 5}


def test_a_read_is_bounded_over_many_windows() -> None:
    lines = [b"x" * 10] * 5
    assert Bounds(5, 100).left_after(lines[:3]) == Bounds(2, 70, 0)
    assert Bounds(3, 100).left_after(lines[:3]) is None
    assert Bounds(5, 61).left_after(lines[:3]) == Bounds(2, 31, 0)
    assert Bounds(5, 60).left_after(lines[:3]) is None
    assert Bounds(5, 30).left_after(lines[:3]) is None
    assert Bounds(2, 5).left_after([]) == Bounds(2, 5)
    assert Bounds(5, 25).end(lines, 0, 60) == 2
    assert Bounds(5, 60).end(lines, 1, 60) == 5
    assert Bounds(5, 5).end(lines, 0, 60) == 1
    assert Bounds(5, 5, 0).end(lines, 0, 60) == 0
    assert Bounds(5, 5).end([], 0, 60) == 0


def test_a_damaged_append_is_told_with_its_offset_and_those_before_it_are_given(tmp_path: Path) -> None:
    segment, records = written(tmp_path, [[10]] * 5)
    whole = bytearray(Path(segment.path).read_bytes())
    begins = whole.index(records[2][0].line)
    whole[begins + 50] ^= 4
    Path(segment.path).write_bytes(whole)
    with SegmentReader(Files(), segment) as reader:
        window = reader.window(BEGIN, 1 << 20)
        assert window is not None
        assert Run(window.lines) == all_of(records)[:2]
        with pytest.raises(StoreCorrupt, match=rf"at offset {begins}: "):
            reader.window(window.end, 1 << 20)


def test_a_file_that_is_shorter_than_it_was_is_corrupt(tmp_path: Path) -> None:
    segment, _ = written(tmp_path, [[10]] * 5)
    with SegmentReader(Files(), segment) as reader:
        segment.size_bytes += 10
        with pytest.raises(StoreCorrupt, match="the file ends before"):
            reader.window(Place(segment.size_bytes - 10, 0), 1 << 20)
