"""The framing of the control channel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.runtime.executor.host.wire import BODY_BYTES_MAX, Decoder, WireError, pack, unpack_u64

frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)))


@given(frames, st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(
    sent: list[tuple[int, bytes]], piece_bytes: int
) -> None:
    stream = b"".join(pack(kind, body) for kind, body in sent)
    decoder = Decoder()
    received = []
    for start in range(0, len(stream), piece_bytes):
        received += decoder.feed(stream[start : start + piece_bytes])
    assert received == sent


def test_a_frame_that_announces_too_much_is_refused_before_it_is_kept() -> None:
    with pytest.raises(WireError, match="announces"):
        Decoder().feed((BODY_BYTES_MAX + 1).to_bytes(4, "little") + b"\1")
    with pytest.raises(WireError, match="at most"):
        pack(1, bytes(BODY_BYTES_MAX + 1))
    with pytest.raises(WireError, match="expected 8"):
        unpack_u64(b"short")
