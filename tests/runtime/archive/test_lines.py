"""Lines of a journal from elsewhere: as this runtime would have written them, or refused by number."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.errors import ArchiveInvalid
from watchglass.protocol.events import Event
from watchglass.protocol.frames import encode_envelope
from watchglass.runtime.archive.lines import JournalCheck, seq_of

from support.archives import FIRST, NOW_US, journal, line_of


def check(data: bytes, *, piece_bytes: int = 1 << 20, trimmed_through: int = 0) -> int:
    """How many lines it has."""
    journal_check = JournalCheck("w", Seq(trimmed_through), NOW_US)
    for start in range(0, len(data), piece_bytes):
        journal_check.feed(data[start : start + piece_bytes])
    journal_check.finish()
    return journal_check.count


@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 10_000])
def test_good_lines_pass_in_pieces_of_any_size(piece_bytes: int) -> None:
    assert check(journal(*(line_of(place) for place in range(5))), piece_bytes=piece_bytes) == 5


@given(st.text(), st.integers() | st.text() | st.none() | st.lists(st.floats(allow_nan=False)))
def test_whatever_an_agent_says_passes_when_it_was_journalled(name: str, value: object) -> None:
    line = encode_envelope(FIRST, "w", "2023-11-14T22:13:20Z", Event(f"my {name}", {"v": value}))
    assert check(line + b"\n") == 1
    assert seq_of(line) == FIRST


def test_integers_that_only_python_reads_exactly_pass() -> None:
    usage = {"input_tokens": 10**30, "output_tokens": 1}
    assert check(encode_envelope(FIRST, "w", "t", Event("usage", usage)) + b"\n") == 1


FOREIGN = line_of(1, "other")
CURSOR = encode_cursor(FIRST)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (b"", "line 2 is not JSON"),
        (b"{", "line 2 is not JSON"),
        (b'{"cursor":"wo_\xff"}', "line 2 is not JSON"),
        (b"[]", "line 2 is no envelope"),
        (b'"text"', "is no envelope"),
        (b"{}", "is no envelope: it has no cursor"),
        (line_of(1, cursor=7), "has no cursor"),
        (line_of(1, cursor="wo_1"), "malformed"),
        (FOREIGN, "line 2 is an event of worker 'other', not of 'w'"),
        (line_of(1, event_id=CURSOR), "cursor, event_id and worker_id stand first, and agree"),
        (b" " + line_of(1), "stand first, and agree"),
        (line_of(1, ts=None), "has no ts"),
        (line_of(1, payload=[]), "no payload"),
        (line_of(1, payload={"event": "x"}), "no event of a journal"),
        (line_of(1, payload={"event": 1, "data": {}}), "no event of a journal"),
        (line_of(1, event="snapshot"), "no event of a journal"),
        (line_of(1, payload={"event": "text_delta", "data": {}}), "data.text: field required"),
        (line_of(0), f"line 2 has the cursor {CURSOR}, after {CURSOR}"),
        (line_of(-5), "line 2 has the cursor"),
        (line_of(NOW_US), "over a day ahead"),
        (encode_envelope((1 << 64) - 1, "w", "t", Event("x", {})), "over a day ahead"),
    ],
)
def test_what_no_journal_has_is_refused_with_its_line(second: bytes, says: str) -> None:
    with pytest.raises(ArchiveInvalid) as refused:
        check(journal(line_of(0), second))
    assert str(refused.value).startswith("'events.jsonl' of the archive: line 2 ")
    assert says in str(refused.value)


def test_cursors_lie_behind_what_retention_dropped() -> None:
    assert check(journal(line_of(1)), trimmed_through=FIRST) == 1
    with pytest.raises(ArchiveInvalid, match="line 1 has the cursor"):
        check(journal(line_of(0)), trimmed_through=FIRST)


def test_a_journal_ends_with_its_last_line() -> None:
    with pytest.raises(ArchiveInvalid, match="line 2 has no newline"):
        check(journal(line_of(0)) + line_of(1))
    with pytest.raises(ArchiveInvalid, match="has no event"):
        check(b"")


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    line_check = JournalCheck("w", Seq(0), NOW_US)
    for _ in range(8):
        line_check.feed(b"x" * (1 << 20))
    with pytest.raises(ArchiveInvalid, match="line 1 is over 8388608 bytes"):
        line_check.feed(b"x")


def test_the_line_is_told_for_json_that_is_nested_too_deep() -> None:
    with pytest.raises(ArchiveInvalid, match="line 1 is not JSON"):
        check(b'{"cursor":' + b"[" * 5000 + b"\n")


def test_bytes_are_what_observers_get() -> None:
    line = line_of(3)
    assert orjson.loads(line)["cursor"] == encode_cursor(seq_of(line))
