"""Which bytes of a log are answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import RangeNotSatisfiable
from watchglass.server.ranges import span

LOG = b"0123456789"
PLACE = st.just("") | st.integers(0, 60).map(str)


def asked(
    offset: int = 0, limit: int | None = None, range_header: str | None = None
) -> tuple[bytes, str, bool]:
    found = span(len(LOG), offset=offset, limit=limit, range_header=range_header)
    return LOG[found.start : found.start + found.length], found.content_range, found.partial


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (0, None, (LOG, "bytes 0-9/10", False)),
        (3, 2, (b"34", "bytes 3-4/10", False)),
        (8, 100, (b"89", "bytes 8-9/10", False)),
        (10, None, (b"", "bytes */10", False)),
    ],
)
def test_an_offset_and_a_limit(offset: int, limit: int | None, expected: tuple[bytes, str, bool]) -> None:
    assert asked(offset, limit) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (b"0", "bytes 0-0/10", True)),
        ("bytes=4-6", (b"456", "bytes 4-6/10", True)),
        ("bytes=4-", (b"456789", "bytes 4-9/10", True)),
        ("bytes=-3", (b"789", "bytes 7-9/10", True)),
        ("bytes=-99", (LOG, "bytes 0-9/10", True)),
        ("bytes=8-99", (b"89", "bytes 8-9/10", True)),
        (" Bytes=1-2 ", (b"12", "bytes 1-2/10", True)),
    ],
)
def test_a_range_is_answered_in_part(header: str, expected: tuple[bytes, str, bool]) -> None:
    assert asked(range_header=header) == expected


@pytest.mark.parametrize(
    "header", ["bytes=6-4", "bytes=0-1,3-4", "bytes=", "bytes=-", "lines=1-2", "bytes=a-b", ""]
)
def test_a_range_that_is_none_is_ignored(header: str) -> None:
    assert asked(range_header=header) == (LOG, "bytes 0-9/10", False)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        asked(range_header=header)
    assert refused.value.size_bytes == len(LOG)


def test_an_offset_behind_the_end_cannot_be_satisfied() -> None:
    with pytest.raises(RangeNotSatisfiable):
        asked(11)


def test_an_empty_log_is_no_error() -> None:
    assert span(0, offset=0, limit=None, range_header=None).length == 0


@given(
    size=st.integers(0, 50),
    offset=st.integers(0, 60),
    limit=st.none() | st.integers(1, 60),
    header=st.none() | st.builds("bytes={}-{}".format, PLACE, PLACE),
)
def test_an_answer_never_leaves_the_log(
    size: int, offset: int, limit: int | None, header: str | None
) -> None:
    try:
        found = span(size, offset=offset, limit=limit, range_header=header)
    except RangeNotSatisfiable:
        return
    assert 0 <= found.start <= found.start + found.length <= size
    assert not found.partial or found.length > 0
