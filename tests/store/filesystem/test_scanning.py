"""One flipped bit costs the append that it is in, and is never taken for one that was cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchglass.store.filesystem import scanning
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.scanning import Stretch, may_be_torn, scan

from support.damage import Built, appended_spans, build


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("store"))


def scanned(path: Path) -> list[Stretch]:
    return list(scan(Files(), str(path)))


def good(stretches: list[Stretch]) -> set[bytes]:
    """Every line of an event that is in a good stretch."""
    return {line for each in stretches for line in each.lines if line.startswith(b'{"cursor"')}


def test_a_healthy_file_is_good_from_end_to_end(built: Built) -> None:
    for segment in built.segments:
        stretches = scanned(segment)
        assert [(each.begin, each.end) for each in stretches] == [
            (begin, end) for begin, end, _ in appended_spans(segment)
        ]
        assert not any(each.is_mended for each in stretches)


@pytest.mark.parametrize("window_bytes", [64, 1 << 20])
def test_a_flipped_bit_costs_the_append_that_it_is_in(
    built: Built, tmp_path: Path, window_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "WINDOW_BYTES", window_bytes)
    segment = built.segments[0]
    data, spans = segment.read_bytes(), appended_spans(segment)
    damaged = tmp_path / "damaged"
    lines = {
        seq: line for line in data.splitlines() for seq in [line[14:30]] if line.startswith(b'{"cursor"')
    }
    for offset in range(0, len(data), 3 if window_bytes > 64 else 17):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        damaged.write_bytes(changed)
        stretches = scanned(damaged)
        [hit] = [span for span in spans if span[0] <= offset < span[1]]
        others = {lines[b"%016x" % seq] for begin, _, seqs in spans for seq in seqs if begin != hit[0]}
        assert others <= good(stretches) <= set(lines.values())
        [wrong] = [each for each in stretches if not each.is_good or each.is_mended]
        assert wrong.begin <= offset < wrong.end
        assert not wrong.is_torn


def test_every_beginning_of_an_append_is_torn_and_nothing_else_is(built: Built, tmp_path: Path) -> None:
    segment = built.segments[0]
    data = segment.read_bytes()
    for begin, end, _ in appended_spans(segment):
        assert all(may_be_torn(data[begin:cut]) for cut in range(begin + 1, end))
        assert not may_be_torn(data[begin:end])
        assert not may_be_torn(data[begin : end - 9] + bytes(9))
    killed = build(tmp_path, killed=True)
    [journal] = killed.path.glob("journal/*.jsonl")
    data = journal.read_bytes()
    for each in scan(Files(), str(journal), has_room=True):
        assert each.is_good
        assert all(may_be_torn(data[each.begin : cut]) for cut in range(each.begin + 1, each.end))


def test_what_has_no_sealed_line_is_read_over_and_not_held(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "WINDOW_BYTES", 512)
    monkeypatch.setattr(scanning, "UNSEALED_BYTES_MAX", 4096)
    data = built.segments[0].read_bytes()
    spans = appended_spans(built.segments[0])
    cut = spans[1][1]
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data[:cut] + b"\0" * 50_000 + data[cut:])
    stretches = scanned(damaged)
    assert [each.is_good for each in stretches[:3]] == [True, True, False]
    assert stretches[2].begin == cut
    assert stretches[-1].is_good
    assert sum(each.end - each.begin for each in stretches) == damaged.stat().st_size
