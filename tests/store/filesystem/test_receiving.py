"""A worker that comes from elsewhere is in the files whole or not at all, whatever fails meanwhile."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreFault
from watchglass.store.base import Record
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.filesystem.open_store import Durability
from watchglass.store.incoming import make_incoming, remove_incoming, remove_tree

from support.clock import Clock
from support.failing_files import OF_WRITES, FailingFiles, Failure
from support.stores import nobody, read_all, record_of, said

pytestmark = pytest.mark.asyncio

NEVER_S = 3600.0
STEPS: list[str] = []
"""Of the last arrival."""
RECORDS = [Record(Seq(100 + number), b'{"cursor":"wo_%016x"}' % (100 + number)) for number in range(1100)]


def arriving(store_path: Path) -> Path:
    files = make_incoming(store_path) / "files"
    (files / "workspace").mkdir(parents=True, mode=0o700)
    (files / "workspace" / "f").write_text("kept")
    return files


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def attempt(root: Path, files: FailingFiles, durability: Durability, fail_at: int = 0) -> bool:
    """Whether it is said to be there. `fail_at` counts the steps of the arrival alone."""
    came = False
    with suppress(StoreFault):
        async with open_filesystem_store(
            root, "rt", durability=durability, clock_us=Clock(), files=files, settle_s=NEVER_S
        ) as store:
            log = await store.create(record_of("mine", 1), nobody)
            await log.append(said("mine"), durable=True)
            incoming = arriving(store.path)
            files.taken.clear()
            files.fail_at = fail_at
            with suppress(StoreFault):
                await store.receive(
                    record_of("came", 2), RECORDS, trimmed_through=Seq(7), view=b"seen", files=incoming
                )
                came = True
            STEPS[:] = files.taken
    return came


async def look(root: Path) -> bool:
    """Whether it is there at the next start; then it must be whole."""
    async with open_filesystem_store(root, "rt", clock_us=Clock()) as store:
        assert list(store.path.glob("incoming-*")) == []
        assert [finding for finding in store.findings if finding.worker_id == "came"] == []
        records = {record.worker_id: record for record in await store.load()}
        assert "mine" in records
        if "came" not in records:
            assert not store.directory("came").exists()
            return False
        assert records["came"] == record_of("came", 2)
        log = await store.open("came", nobody)
        assert (log.head, log.trimmed_through) == (RECORDS[-1].seq, 7)
        assert await read_all(log, after=7) == RECORDS
        assert await store.load_view("came") == b"seen"
        assert (store.directory("came") / "workspace" / "f").read_text() == "kept"
        for record in await store.runtime_log.append(said("later")):
            assert record.seq > RECORDS[-1].seq
        return True


@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_it_is_there_at_the_next_start(tmp_path: Path, durability: Durability) -> None:
    assert await attempt(tmp_path, FailingFiles(), durability)
    assert await look(tmp_path)


@pytest.mark.parametrize("failure", list(Failure))
@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_a_failure_or_a_kill_at_any_step_leaves_all_or_nothing(
    tmp_path: Path, durability: Durability, failure: Failure
) -> None:
    await attempt(tmp_path / "whole", FailingFiles(), durability)
    steps = [number for number, name in enumerate(STEPS, 1) if failure not in OF_WRITES or name == "pwrite"]
    for number in steps:
        root = tmp_path / f"{number}"
        came = await attempt(root, FailingFiles(failure=failure), durability, number)
        is_there = await look(root)
        assert is_there or not came, number
        if failure in {Failure.IO, Failure.SHORT}:
            assert is_there == came, number


async def test_what_a_killed_process_left_is_removed_even_if_it_may_not_be_written(tmp_path: Path) -> None:
    left = arriving(tmp_path)
    (left / "workspace" / "d").mkdir()
    (left / "workspace" / "d" / "f").write_text("x")
    (left / "workspace" / "l").symlink_to(tmp_path)
    (left / "workspace" / "d").chmod(0o500)
    (left / "workspace").chmod(0o500)
    (tmp_path / "stays").write_text("x")
    remove_incoming(tmp_path)
    assert names_in(tmp_path) == ["stays"]
    remove_tree(tmp_path / "never there")
