"""Bytes of a process, cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

from watchglass.protocol.events import Event
from watchglass.runtime.speech import PlainStream, Speech


def cuts(max_size: int = 8) -> st.SearchStrategy[list[int]]:
    """Places to cut at, as shares of a thousand of the whole."""
    return st.lists(st.integers(0, 1000), max_size=max_size)


def chunked(data: bytes, shares: Sequence[int]) -> list[bytes]:
    """The same bytes in chunks, some of them perhaps empty."""
    places = sorted([0, len(data), *(len(data) * share // 1000 for share in shares)])
    return [data[start:end] for start, end in pairwise(places)]


def heard(machine: Speech | PlainStream, chunks: Sequence[bytes]) -> list[Event]:
    """Every event of a stream that came in these chunks and ended."""
    events: list[Event] = []
    offset = 0
    for chunk in chunks:
        events += machine.feed(offset, chunk)
        offset += len(chunk)
    return [*events, *machine.finish()]
