"""The write-ahead file when a disk is slow, or refuses more than one thing: nothing that was seen is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from watchglass.protocol.errors import StoreIo
from watchglass.store.base import Log, Retention
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store
from watchglass.store.filesystem.ahead import without_room
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.ground import Ground
from watchglass.store.filesystem.layout import Layout
from watchglass.store.filesystem.loading import LogState, Salvage
from watchglass.store.filesystem.log import FileLog
from watchglass.store.filesystem.sync import SyncThread
from watchglass.store.filesystem.wal import WriteAhead
from watchglass.store.numbering import Numbering, system_clock_us

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


class Rounds:
    """A write-ahead file and one log of it, without a store that would settle either."""

    def __init__(self, root: Path, files: HeldFiles, thread: SyncThread) -> None:
        self.layout = Layout(root)
        self.thread = thread
        for folder in (self.layout.journal, self.layout.events("w")):
            Path(folder).mkdir(parents=True)
        salvage = Salvage(files, str(root), self.layout.salvaged(0), lambda _finding: None)
        self.numbering = Numbering(system_clock_us)
        ground = Ground(files, self.numbering, Retention(), salvage, self.layout.workers)
        self.wal = ground.wal = WriteAhead(files, self.layout.journal, 0, thread)
        self.log = FileLog(ground, "w", self.layout.events("w"), LogState())

    def gather(self, text: str) -> asyncio.Future[None]:
        events = said(text)
        return self.wal.gather(self.log, self.numbering.encode("w", events), events, None)

    def put(self, text: str) -> None:
        events = said(text)
        self.wal.put(self.log, self.numbering.encode("w", events), events, None)

    def note(self, name: str) -> None:
        self.wal.note(orjson.dumps({"note": name}))

    def written(self) -> list[str]:
        """What the files have, oldest first: texts of events, names of notes, a bar behind each round."""
        found: list[str] = []
        for path in sorted(Path(self.layout.journal).iterdir()):
            if path.is_file():
                opening, *lines = map(orjson.loads, without_room(path.read_bytes()).splitlines())
                assert "wal" in opening
                found += [name for line in lines if (name := _told_by(line)) is not None]
        return found


def _told_by(line: dict[str, Any]) -> str | None:
    if "cursor" in line:
        return str(line["payload"]["data"]["text"])
    return "|" if "crc" in line else line.get("note")


@asynccontextmanager
async def rounds(root: Path, files: HeldFiles) -> AsyncIterator[Rounds]:
    thread = SyncThread("rounds")
    opened = Rounds(root, files, thread)
    try:
        yield opened
    finally:
        files.let_go()
        thread.close()
        opened.log.rest(finally_=True)
        opened.wal.close()


async def test_what_can_wait_is_written_and_seen_at_once_behind_what_was_gathered(tmp_path: Path) -> None:
    files = HeldFiles()
    async with rounds(tmp_path, files) as told:
        files.hold()
        waiter = told.gather("gathered")
        assert told.log.gathered == 1
        assert await texts(told.log) == []
        told.put("put")
        assert told.log.gathered == 0
        assert await texts(told.log) == ["gathered", "put"]
        assert told.written() == ["gathered", "put", "|"]
        assert not waiter.done(), "it is written, and nothing is synced"
        files.let_go()
        await soon(waiter)


async def test_what_can_wait_is_brought_to_the_disk_by_nobody_but_who_hurries(tmp_path: Path) -> None:
    files = HeldFiles()
    async with rounds(tmp_path, files) as told:
        told.put("one")
        told.put("two")
        await soon(told.gather("waited for"))
        assert files.synced == ["wal-00000000.jsonl"], "one sync for all that was written before it"
        told.put("three")
        await told.thread.run(lambda: None)  # Whatever was to be synced before it is.
        assert len(files.synced) == 1
        told.wal.hurry()
        await told.thread.run(lambda: None)
        assert len(files.synced) == 2


async def test_what_cannot_be_put_is_told_to_whoever_asked_for_that_round_and_seen_by_nobody(
    tmp_path: Path,
) -> None:
    files = HeldFiles()
    async with rounds(tmp_path, files) as told:
        waiter = told.gather("gathered")
        files.refused = {"pwrite"}
        with pytest.raises(StoreIo, match="write"):
            told.put("put")
        with pytest.raises(StoreIo, match="write"):
            await soon(waiter)
        files.refused = set()
        assert (told.log.gathered, await texts(told.log)) == (0, [])
        told.put("later")
        assert await texts(told.log) == ["later"]
        assert told.written() == ["later", "|"]


async def test_who_hurries_writes_what_was_noted_once(tmp_path: Path) -> None:
    files = HeldFiles()
    async with rounds(tmp_path, files) as told:
        told.wal.hurry()
        assert told.written() == [], "nothing was asked for"
        told.note("a worker's record")
        assert told.written() == [], "nobody waits for it"
        told.wal.hurry()
        await until(lambda: files.synced == ["wal-00000000.jsonl"])
        told.wal.hurry()
        assert told.written() == ["a worker's record", "|"]


async def test_a_note_that_could_not_be_written_goes_with_the_next_round(tmp_path: Path) -> None:
    files = HeldFiles()
    async with rounds(tmp_path, files) as told:
        told.note("first")
        files.refused = {"pwrite"}
        told.wal.hurry()
        files.refused = set()
        told.note("second")
        told.put("an event")
        assert told.written() == ["first", "second", "an event", "|"]


async def test_what_a_failed_sync_may_have_lost_is_written_again_by_who_hurries(tmp_path: Path) -> None:
    files = HeldFiles()
    async with rounds(tmp_path, files) as told:
        told.put("one")
        told.note("two")
        files.refused = {"fdatasync"}
        with pytest.raises(StoreIo, match="sync"):
            await soon(told.gather("three"))
        files.refused = set()
        told.wal.hurry()
        await until(lambda: files.synced == ["wal-00000001.jsonl"])
        assert told.written() == ["one", "|", "two", "three", "|", "one", "two", "three", "|"]
        assert await texts(told.log) == ["one", "three"], "they were seen, and are seen once"
