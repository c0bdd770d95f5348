"""A client's bytes are split into its frames wherever the network cuts them; wsproto is the witness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from watchglass.protocol.client_frames import ClientFrames, FrameTooLarge

BOUND = 70_000
texts = st.builds(TextMessage, st.one_of(st.text(max_size=200), st.sampled_from(["x" * 126, "é" * 33_000])))
others = st.one_of(
    st.builds(TextMessage, st.text(max_size=20), message_finished=st.just(False)),
    st.builds(Ping, st.binary(max_size=125)),
)


def sent(events: list[TextMessage | Ping | BytesMessage | CloseConnection]) -> list[bytes]:
    """Each as a client sends it; a piece of a text is followed by its end."""
    client = Connection(ConnectionType.CLIENT)
    frames: list[bytes] = []
    for event in events:
        frames.append(client.send(event))
        if isinstance(event, TextMessage) and not event.message_finished:
            frames.append(client.send(TextMessage("end")))
    return frames


@given(st.lists(st.one_of(texts, others), max_size=8), st.data())
def test_wherever_it_is_cut_the_same_frames_come_in_the_same_order(
    events: list[TextMessage | Ping], data: st.DataObject
) -> None:
    frames = sent([*events])
    whole = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    splitter = ClientFrames(BOUND)
    told: list[bytes] = []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        for found in splitter.split(whole[begin:end]):
            told += found if isinstance(found, list) else [found]
    wanted: list[bytes] = []
    plain = iter(events)
    for event in plain:
        if isinstance(event, TextMessage) and event.message_finished:
            wanted.append(event.data.encode())
            frames.pop(0)
        else:
            pieces = 2 if isinstance(event, TextMessage) else 1
            wanted += frames[:pieces]
            del frames[:pieces]
    assert told == wanted


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 65_535, 65_536])
def test_a_text_of_any_size_is_unmasked(size: int) -> None:
    [frame] = sent([TextMessage("x" * size)])
    assert list(ClientFrames(BOUND).split(frame)) == [[b"x" * size]]


def test_many_texts_of_one_read_come_together() -> None:
    frames = sent([TextMessage(str(number)) for number in range(5)])
    assert list(ClientFrames(BOUND).split(b"".join(frames))) == [[b"0", b"1", b"2", b"3", b"4"]]


def test_a_frame_over_the_bound_is_refused_by_its_header() -> None:
    [frame] = sent([TextMessage("x" * (BOUND + 1))])
    with pytest.raises(FrameTooLarge):
        list(ClientFrames(BOUND).split(frame[:14]))


def test_what_was_sent_before_a_frame_over_the_bound_is_there_in_however_many_pieces_it_comes() -> None:
    first, second, large = sent([TextMessage("a"), TextMessage("b"), TextMessage("x" * (BOUND + 1))])
    data = first + second + large[:14]
    for pieces in ([data], [bytes((byte,)) for byte in data]):
        frames = ClientFrames(BOUND)
        found = (text for piece in pieces for texts in frames.split(piece) for text in texts)
        assert [next(found), next(found)] == [b"a", b"b"]
        with pytest.raises(FrameTooLarge):
            next(found)


def test_what_is_not_masked_is_passed_on_as_it_came() -> None:
    unmasked = b"\x81\x02hi"
    assert list(ClientFrames(BOUND).split(unmasked)) == [unmasked]


@pytest.mark.parametrize(
    "header", [b"\x81\xfe\x00\x01", b"\x81\xfe\x00\x7d", b"\x81\xff" + bytes(6) + b"\xff\xff"]
)
def test_a_length_that_is_not_the_shortest_is_passed_on_as_it_came(header: bytes) -> None:
    frame = header + bytes(4) + b"x" * int.from_bytes(header[2:])
    assert list(ClientFrames(BOUND).split(frame)) == [frame]


def test_a_text_between_the_pieces_of_another_is_passed_on_as_it_came() -> None:
    begins, ends, whole = sent([TextMessage("[", message_finished=False), TextMessage("{}")])
    ping = sent([Ping(b"still there?")])[0]
    assert list(ClientFrames(BOUND).split(begins + ping + whole)) == [begins, ping, whole]
    assert list(ClientFrames(BOUND).split(begins + ping + ends + whole)) == [begins, ping, ends, [b"{}"]]


def test_who_is_told_to_ignore_keeps_nothing() -> None:
    splitter = ClientFrames(BOUND)
    splitter.ignore()
    assert list(splitter.split(b"\x81\x02hi")) == []
