"""Room in a file: it is found again, and a write within it changes no size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.ahead import ROOM_BYTES, without_room, written_bytes
from watchglass.store.filesystem.files import Files

from support.stores import nobody, record_of, said


@contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("written")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


@given(st.binary(max_size=50), st.sampled_from([0, 1, ROOM_BYTES - 1, ROOM_BYTES, 2 * ROOM_BYTES + 7]))
def test_what_was_written_is_told_from_the_room_behind_it(data: bytes, room_bytes: int) -> None:
    written = data + b"\n" if data else b""
    with memory_file(written + bytes(room_bytes)) as fd:
        assert written_bytes(Files(), fd) == len(written)
        assert without_room(Files().read_through(fd, len(written) + room_bytes)) == written


def wal_of(root: Path) -> bytes:
    [wal] = root.glob("runtimes/*/journal/wal-*.jsonl")
    return wal.read_bytes()


@pytest.mark.asyncio
async def test_most_rounds_change_no_size(tmp_path: Path) -> None:
    async with open_filesystem_store(tmp_path, settle_s=3600) as store:
        log = await store.create(record_of("w"), nobody)
        sizes: set[int] = set()
        for _ in range(100):
            await log.append(said("w" * 100), durable=True)
            sizes.add(len(wal_of(tmp_path)))
        assert len(sizes) == 1


@pytest.mark.asyncio
async def test_a_round_after_which_few_like_it_would_fit_makes_no_room(tmp_path: Path) -> None:
    async with open_filesystem_store(tmp_path, settle_s=3600) as store:
        log = await store.create(record_of("w"), nobody)
        await log.append(said("w" * ROOM_BYTES), durable=True)
        assert wal_of(tmp_path).endswith(b"\n")
        await log.append(said("w"), durable=True)
        assert len(wal_of(tmp_path)) - len(without_room(wal_of(tmp_path))) == ROOM_BYTES
