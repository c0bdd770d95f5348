"""Reading output on behind what somebody else has read, from files as a supervisor writes them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.runtime.executor import OutputChunk
from watchglass.runtime.executor._output import Output
from watchglass.runtime.executor.host.pump import RECORD

RECORDS = st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 9)), max_size=40)


@given(records=RECORDS, later=RECORDS, stdout_from=st.integers(0, 60), stderr_from=st.integers(0, 60))
def test_reading_goes_on_behind_any_two_places(
    records: list[tuple[int, int]], later: list[tuple[int, int]], stdout_from: int, stderr_from: int
) -> None:
    """Against the obvious way: all of it, byte by byte, without what was read before."""
    with (
        tempfile.TemporaryDirectory() as name,
        patch("watchglass.runtime.executor._output._RECORDS_SEARCHED", 5),
        patch("watchglass.runtime.executor._output._RECORDS_AT_ONCE", 3),
    ):
        written = Written(Path(name))
        written.write(records)
        read = {"stdout": min(stdout_from, written.ends[1]), "stderr": min(stderr_from, written.ends[2])}
        output = Output(Path(name), stdout_from=read["stdout"], stderr_from=read["stderr"])
        found = [*_bytes(output.read(7)), *_bytes(_rest(output))]
        written.write(later)
        assert output.indexed_bytes() == (written.ends[1], written.ends[2])
        found += _bytes(_rest(output))
        output.finish(*output.indexed_bytes())
        whole = Output(Path(name))
        assert found == [(stream, at) for stream, at in _bytes(_rest(whole)) if at >= read[stream]]
        whole.close()


class Written:
    """The files of a worker as its supervisor writes them."""

    def __init__(self, directory: Path) -> None:
        self.ends = {1: 0, 2: 0}
        self._index = directory / "output.idx"
        self._logs = {1: directory / "stdout.log", 2: directory / "stderr.log"}
        for path in (self._index, *self._logs.values()):
            path.touch()

    def write(self, records: Iterable[tuple[int, int]]) -> None:
        """More records, each (stream, length)."""
        said = {1: bytearray(), 2: bytearray()}
        index = bytearray()
        for stream, length in records:
            index += RECORD.pack(0, self.ends[stream], length, stream)
            said[stream] += bytes(at % 251 for at in range(self.ends[stream], self.ends[stream] + length))
            self.ends[stream] += length
        for stream, log in self._logs.items():
            with log.open("ab") as file:
                file.write(said[stream])
        with self._index.open("ab") as file:
            file.write(index)


def _rest(output: Output) -> list[OutputChunk]:
    chunks: list[OutputChunk] = []
    while more := output.read(11):
        chunks += more
    return chunks


def _bytes(chunks: list[OutputChunk]) -> list[tuple[str, int]]:
    """The place of each byte, once its content proved to be the right one."""
    places = [(chunk, at) for chunk in chunks for at in range(chunk.offset, chunk.offset + len(chunk.data))]
    assert all(chunk.data[at - chunk.offset] == at % 251 for chunk, at in places)
    return [(chunk.stream, at) for chunk, at in places]


@pytest.mark.parametrize(("behind", "blocks"), [(1, 2), (5000, 4)])
def test_finding_the_place_in_a_long_log_costs_what_is_left_to_read(
    tmp_path: Path, behind: int, blocks: int
) -> None:
    written = Written(tmp_path)
    written.write([(2, 3)])
    written.write([(1, 1)] * 200_000)
    output = Output(tmp_path, stdout_from=200_000 - behind, stderr_from=3)
    with patch.object(Output, "_block", autospec=True, side_effect=Output._block) as looked:
        assert len(output.read(1)[0].data) == 1
    assert looked.call_count <= blocks
    output.close()
