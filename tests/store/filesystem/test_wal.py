"""The write-ahead file when a disk is slow, or refuses more than one thing: nothing that was seen is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from pathlib import Path

import orjson
import pytest

from watchglass.protocol.errors import StoreIo
from watchglass.store.base import Log
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store
from watchglass.store.filesystem.files import Files

from support.stores import nobody, read_all, record_of, said
from support.tasks import begun, soon, until

pytestmark = pytest.mark.asyncio

NEVER_S = 3600.0


class HeldFiles(Files):
    """A disk whose syncs wait while they are held, and that refuses what it is told to."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.synced: list[str] = []
        self._free = threading.Event()
        self._free.set()
        self.waiting = threading.Event()
        for name in ("pwrite", "truncate"):
            setattr(self, name, self._refusable(name))
        setattr(self, "fdatasync", self._sync)  # noqa: B010 - it stands for a function of `os`.

    def hold(self) -> None:
        self.waiting.clear()
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()

    def _refusable(self, name: str) -> object:
        act = getattr(Files, name)

        def step(fd: int, *args: object) -> object:
            if name in self.refused and "wal-" in _path(fd):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return act(fd, *args)

        return step

    def _sync(self, fd: int) -> None:
        self.waiting.set()
        self._free.wait()
        if "fdatasync" in self.refused and "wal-" in _path(fd):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.synced.append(Path(_path(fd)).name)
        os.fdatasync(fd)


def _path(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


async def texts(log: Log) -> list[str]:
    return [orjson.loads(record.line)["payload"]["data"]["text"] for record in await read_all(log)]


async def kept(root: Path) -> list[str]:
    """What a store that was killed now would come back with."""
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    async with open_filesystem_store(copy) as store:
        await store.load()
        told = await texts(await store.open("w", nobody))
    shutil.rmtree(copy)
    return told


async def in_flight(files: HeldFiles, log: Log, text: str) -> asyncio.Task[object]:
    """A durable append whose sync is held."""
    files.hold()
    task = await begun(log.append(said(text), durable=True))
    await until(files.waiting.is_set)
    return task


async def next_round(log: Log, text: str) -> asyncio.Task[object]:
    """A durable append that is visible while the sync of the round before it is still under way."""
    before = log.head
    task = await begun(log.append(said(text), durable=True))
    await until(lambda: log.head > before)
    return task


async def opened(store: FilesystemStore) -> Log:
    return await store.create(record_of("w"), nobody)


async def test_a_file_that_can_neither_be_written_nor_cut_is_given_up_and_nothing_lost(
    tmp_path: Path,
) -> None:
    files = HeldFiles()
    async with open_filesystem_store(tmp_path / "root", files=files, settle_s=NEVER_S) as store:
        log = await opened(store)
        first = await in_flight(files, log, "first")
        second = await next_round(log, "second")
        files.refused = {"pwrite", "truncate"}
        with pytest.raises(StoreIo, match="write"):
            await soon(log.append(said("third"), durable=True))
        with pytest.raises(StoreIo, match="sync"):
            await soon(second)
        files.refused = set()
        files.let_go()
        await soon(first)
        await soon(log.append(said("fourth"), durable=True))
        assert await texts(log) == ["first", "second", "fourth"]
        assert await kept(tmp_path / "root") == ["first", "second", "fourth"]


async def test_a_sync_that_fails_leaves_nothing_of_a_round_behind_it_unsynced(tmp_path: Path) -> None:
    files = HeldFiles()
    async with open_filesystem_store(tmp_path / "root", files=files, settle_s=NEVER_S) as store:
        log = await opened(store)
        await log.append(said("old"), durable=True)
        await store.settle()
        first = await in_flight(files, log, "first")
        other = await store.create(record_of("other"), nobody)
        await other.append(said("in its segment alone"))
        second = await next_round(other, "second")
        files.refused = {"fdatasync"}
        files.let_go()
        for refused in (first, second):
            with pytest.raises(StoreIo, match="sync"):
                await soon(refused)
        files.refused, files.synced = set(), []
        await soon(other.append(said("third"), durable=True))
        segment = store.directory("other") / "events"
        [name] = [path.name for path in segment.iterdir()]
        assert name in files.synced
        assert await texts(other) == ["in its segment alone", "second", "third"]
        assert await kept(tmp_path / "root") == ["old", "first"]


async def test_a_young_log_keeps_its_first_events_together_in_the_write_ahead_file(tmp_path: Path) -> None:
    async with open_filesystem_store(tmp_path / "root", settle_s=NEVER_S) as store:
        log = await opened(store)
        await log.append(said("durable"), durable=True)
        await log.append(said("behind it"))
        assert list((store.directory("w") / "events").iterdir()) == [], "its first segment is not needed yet"
        assert await texts(log) == ["durable", "behind it"]
        assert await kept(tmp_path / "root") == ["durable", "behind it"]


async def test_what_a_young_log_cannot_write_is_refused_and_never_seen(tmp_path: Path) -> None:
    files = HeldFiles()
    async with open_filesystem_store(tmp_path / "root", files=files, settle_s=NEVER_S) as store:
        log = await opened(store)
        await log.append(said("durable"), durable=True)
        files.refused = {"pwrite"}
        with pytest.raises(StoreIo):
            await log.append(said("refused"))
        files.refused = set()
        await log.append(said("taken"))
        assert await texts(log) == ["durable", "taken"]
    assert await kept(tmp_path / "root") == ["durable", "taken"]


async def test_what_nobody_waits_for_is_synced_all_the_same(tmp_path: Path) -> None:
    files = HeldFiles()
    async with open_filesystem_store(tmp_path / "root", files=files, settle_s=0.01) as store:
        log = await opened(store)
        await log.append(said("durable"), durable=True)
        files.synced = []
        await log.append(said("behind it"))
        await until(lambda: any(name.startswith("wal-") for name in files.synced))
