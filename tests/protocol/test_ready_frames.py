"""Frames made in bulk are those that are made one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.frames import event_frame
from watchglass.protocol.ready_frames import frame_header, ready_frames

ADDED_BYTES = len(event_frame(b""))


@pytest.mark.parametrize(
    ("size_bytes", "header"),
    [
        (0, "81 00"),
        (125, "81 7d"),
        (126, "81 7e 00 7e"),
        (256, "81 7e 01 00"),  # RFC 6455, section 5.7.
        (65_535, "81 7e ff ff"),
        (65_536, "81 7f 00 00 00 00 00 01 00 00"),  # The same.
    ],
)
def test_a_header_says_whole_text_and_its_length(size_bytes: int, header: str) -> None:
    assert frame_header(size_bytes) == bytes.fromhex(header)


usual = st.integers(0, 300)
edges = st.sampled_from([size - ADDED_BYTES for size in (125, 126, 65_535, 65_536)] + [4096, 4097])


@given(st.lists(usual | edges, max_size=8))
def test_frames_in_bulk_are_each_event_s_frame_with_its_header(sizes: list[int]) -> None:
    envelopes = [b"e" * size for size in sizes]
    frames = [event_frame(envelope) for envelope in envelopes]
    assert ready_frames(envelopes) == b"".join([frame_header(len(frame)) + frame for frame in frames])
