"""The beginning of a stream, as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchglass.protocol.errors import StoreIo
from watchglass.runtime.task_output import shown_output

pytestmark = pytest.mark.asyncio


async def test_a_stream_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert await shown_output(tmp_path, "stdout", 10) == ("", False)


async def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").mkdir()
    with pytest.raises(StoreIo):
        await shown_output(tmp_path, "stdout", 10)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=st.text(max_size=50), most=st.integers(min_value=1, max_value=60))
async def test_a_text_is_cut_at_a_character_and_says_so(tmp_path: Path, text: str, most: int) -> None:
    data = text.encode()
    (tmp_path / "stdout.log").write_bytes(data)
    shown, truncated = await shown_output(tmp_path, "stdout", most)
    assert text.startswith(shown)
    assert len(shown.encode()) > most - 4 or shown == text
    assert truncated is (len(data) > most)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.binary(max_size=60), most=st.integers(min_value=1, max_value=60))
async def test_any_bytes_are_shown_as_text(tmp_path: Path, data: bytes, most: int) -> None:
    (tmp_path / "stderr.log").write_bytes(data)
    shown, truncated = await shown_output(tmp_path, "stderr", most)
    assert shown.encode().decode() == shown
    assert truncated is (len(data) > most)


async def test_a_large_file_is_read_no_further_than_its_bound(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(b"x" * 300_000)
    assert await shown_output(tmp_path, "stdout", 100_000) == ("x" * 100_000, True)
