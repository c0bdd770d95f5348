"""Lines of stdin become inputs whose encoding gives the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.server.cli.faults import CliError
from watchglass.server.cli.forwarding import INPUT_BYTES_MAX, Lines

lines_of_text = st.lists(
    st.sampled_from(["", " ", "\u00a0", "\x1c", "a", "word", "ü☃", "two words"]), max_size=30
)
pieces = st.lists(st.integers(min_value=1, max_value=9), max_size=40)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(data[:size])
        data = data[size:]
    return [part for part in [*parts, data] if part]


def contents(lines: Lines, parts: list[bytes]) -> list[str]:
    return [content for part in parts for content in lines.feed(part)] + lines.finish()


@given(lines_of_text, pieces)
def test_as_text_the_inputs_are_the_bytes_that_came(lines: list[str], sizes: list[int]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    lines_read = Lines(together=True)
    said = contents(lines_read, cut(data, sizes))
    assert all(content.strip() for content in said)
    got = "".join(f"{content}\n" for content in said)
    assert data.decode().startswith(got)
    left = data.decode()[len(got) :]
    assert not left.strip(), "only blank lines at the very end are left out"
    assert lines_read.unsent == left.encode()


@given(lines_of_text, pieces)
def test_as_jsonl_every_line_is_one_input(lines: list[str], sizes: list[int]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    said = contents(Lines(together=False), cut(data, sizes))
    assert said == [line for line in lines if line.strip()]


def test_lines_that_are_ready_together_go_together() -> None:
    lines = Lines(together=True)
    assert lines.feed(b"one\n\ntwo\nthr") == ["one\n\ntwo"]
    assert lines.feed(b"ee\n\n") == ["three\n"]
    assert lines.feed(b"\n") == []
    assert lines.feed(b"four\n") == ["\nfour"]
    assert lines.finish() == []


def test_a_last_line_without_its_newline_is_sent() -> None:
    lines = Lines(together=True)
    assert lines.feed(b"end") == []
    assert lines.finish() == ["end"]


def test_many_lines_are_cut_to_what_an_input_holds() -> None:
    data = b"".join(b"%099d\n" % number for number in range(10_000))
    said = Lines(together=True).feed(data)
    assert max(map(len, said)) <= INPUT_BYTES_MAX
    assert "".join(f"{content}\n" for content in said).encode() == data


def test_a_line_that_no_input_holds_is_refused() -> None:
    with pytest.raises(CliError, match=str(INPUT_BYTES_MAX)):
        Lines(together=True).feed(b"x" * (INPUT_BYTES_MAX + 1))
    with pytest.raises(CliError, match=str(INPUT_BYTES_MAX)):
        Lines(together=False).feed(b"x" * (INPUT_BYTES_MAX + 1) + b"\n")


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(CliError, match="UTF-8"):
        Lines(together=True).feed(b"\xff\xfe\n")
