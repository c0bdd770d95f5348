"""What a store in files still has after a close, a kill, a damaged file, and a hand that removes things."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import (
    CursorExpired,
    StoreCorrupt,
    StoreFault,
    StoreIo,
    StoreMissing,
    WorkerNotFound,
)
from watchglass.protocol.lifecycle import Phase, Wanted
from watchglass.protocol.workers import WorkerExit
from watchglass.store.base import Log, Record, Retention, StoreUnusable, StreamOffsets
from watchglass.store.filesystem import FilesystemStore, open_filesystem_store, runtime_directories
from watchglass.store.filesystem.ahead import without_room
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.open_store import Durability
from watchglass.store.worker_record import WorkerEnd, WorkerRecord

from support.clock import Clock
from support.failing_files import FailingFiles
from support.stores import nobody, read_all, record_of, said

pytestmark = pytest.mark.asyncio
DAY_US = 86_400_000_000


@asynccontextmanager
async def opened(
    root: Path,
    *,
    clock: Clock | None = None,
    retention: Retention | None = None,
    durability: Durability = "fsync",
    files: Files | None = None,
) -> AsyncIterator[FilesystemStore]:
    """A store that settles only when it is asked to."""
    async with open_filesystem_store(
        root,
        retention=retention,
        durability=durability,
        clock_us=clock or Clock(),
        files=files,
        settle_s=3600,
    ) as store:
        yield store


def killed(root: Path) -> Path:
    """The directory as a process that is killed now would leave it."""
    copy = root.with_name(f"{root.name}-killed")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    return copy


def runtime_of(root: Path) -> Path:
    [runtime] = runtime_directories(root)
    return runtime


def segments_of(root: Path, worker_id: str = "w") -> list[Path]:
    return sorted((runtime_of(root) / "workers" / worker_id / "events").glob("*.jsonl"))


def wal_of(root: Path) -> Path:
    [wal] = (runtime_of(root) / "journal").glob("wal-*.jsonl")
    return wal


def ended(record: WorkerRecord) -> WorkerRecord:
    end = WorkerEnd(
        phase=Phase.SUCCEEDED,
        started_us=1,
        finished_us=2,
        exit=WorkerExit(code=0, signal=None, reason="exited"),
        usage=None,
        transcript_len=0,
    )
    return record.model_copy(update={"end": end})


def facts_of(log: Log) -> tuple[object, ...]:
    return log.head, log.oldest, log.trimmed_through, log.offsets


async def grow(log: Log, count: int = 6) -> list[Record]:
    """Appends of every kind."""
    records: list[Record] = []
    for number in range(count):
        offsets = StreamOffsets(number, number * 10, 0) if number % 2 else None
        records += await log.append(said(f"{number}", "x" * number), durable=number % 3 == 0, offsets=offsets)
    return records


# Reopening.


@pytest.mark.parametrize("durability", ["fsync", "os"])
@pytest.mark.parametrize("end", ["closed", "killed"])
async def test_everything_is_there_again(tmp_path: Path, durability: Durability, end: str) -> None:
    root = tmp_path / "root"
    few = Retention(max_events=16)
    async with opened(root, durability=durability, retention=few) as store:
        log = await store.create(record_of("w"), nobody)
        records = await grow(log, 12)
        announced = await store.runtime_log.append(said("r"), durable=True)
        down = record_of("w").model_copy(update={"wanted": Wanted.DOWN})
        await store.save(down)
        await store.save_view("w", b"view\n{}")
        facts, runtime_id, path = facts_of(log), store.runtime_id, store.path
        copy = killed(root)
    assert facts[2] != BEGINNING
    async with opened(copy if end == "killed" else root, durability=durability, retention=few) as store:
        assert (store.runtime_id, store.path.name) == (runtime_id, path.name)
        assert list(store.findings) == []
        assert list(await store.load()) == [down]
        log = await store.open("w", nobody)
        assert facts_of(log) == facts
        assert await read_all(log, after=log.trimmed_through) == [
            record for record in records if record.seq > log.trimmed_through
        ]
        assert await read_all(store.runtime_log) == list(announced)
        assert await store.load_view("w") == b"view\n{}"
        with pytest.raises(CursorExpired):
            await log.read(after=Seq(log.trimmed_through - 1))
        [more] = await log.append(said("more"))
        assert more.seq > announced[-1].seq


CHILD = """
import asyncio, sys
from pathlib import Path
from watchglass.protocol.events import Event
from watchglass.protocol.workers import CreateWorkerRequest
from watchglass.store.filesystem import open_filesystem_store
from watchglass.store.worker_record import WorkerRecord

async def main():
    async with open_filesystem_store(Path(sys.argv[1])) as store:
        record = WorkerRecord(worker_id="w", created_us=1, request=CreateWorkerRequest(), plan=None)
        log = await store.create(record, lambda _records, _events: None)
        for number in range(10**9):
            [said] = await log.append([Event("n", {"n": number})], durable=number % 2 == 0)
            print(said.seq, flush=True)

asyncio.run(main())
"""


async def test_what_a_killed_process_was_told_is_there(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else is on this loop.
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(300)]
        child.send_signal(signal.SIGKILL)
        told += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    async with open_filesystem_store(tmp_path) as store:
        log = await store.open("w", nobody)
        kept = await read_all(log)
        assert [record.seq for record in kept][: len(told)] == told
        assert [orjson.loads(each.line)["payload"]["data"]["n"] for each in kept] == list(range(len(kept)))
        [again] = await log.append(said("again"))
        assert again.seq > max(told)


async def test_a_clean_restart_does_not_run_ahead_of_the_time(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as store:
        await store.create(record_of("w"), nobody)
    clock.now_us += 1000
    async with opened(tmp_path, clock=clock) as store:
        [record] = await (await store.open("w", nobody)).append(said("a"))
        assert record.seq == clock.now_us


@pytest.mark.parametrize("end", ["closed", "killed"])
async def test_a_clock_that_is_a_day_back_reissues_nothing(tmp_path: Path, end: str) -> None:
    root = tmp_path / "root"
    clock = Clock()
    async with opened(root, clock=clock) as store:
        log = await store.create(record_of("w"), nobody)
        records = await log.append(said("a", "b"))
        gone = await store.create(record_of("gone"), nobody)
        [lost] = await gone.append(said("x"))
        await store.delete("gone")
        copy = killed(root)
    clock.now_us -= DAY_US
    async with opened(copy if end == "killed" else root, clock=clock) as store:
        log = await store.open("w", nobody)
        records = [*records, *await log.append(said("c"), durable=True)]
        assert await read_all(log) == records
        assert records[-1].seq > lost.seq


async def test_a_clock_that_leaps_gets_room_before_its_sequence_is_used(tmp_path: Path) -> None:
    root = tmp_path / "root"
    clock = Clock()
    async with opened(root, clock=clock) as store:
        log = await store.create(record_of("w"), nobody)
        clock.now_us += DAY_US
        [leapt] = await log.append(said("a"))
        await store.delete("w")
        copy = killed(root)
    async with opened(copy) as store:
        [after] = await store.runtime_log.append(said("b"))
        assert after.seq > leapt.seq


async def test_many_kills_in_a_row_do_not_run_further_and_further_ahead_of_the_clock(tmp_path: Path) -> None:
    clock = Clock()
    root = tmp_path / "0"
    for _ in range(20):
        async with opened(root, clock=clock) as store:
            [record] = await store.runtime_log.append(said("a"))
            root = killed(root)
        clock.now_us += 1_000_000
    assert record.seq < clock.now_us + 2 * 60_000_000


async def test_a_lost_ceiling_is_told_and_sequences_still_grow(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        log = await store.create(record_of("w"), nobody)
        [record] = await log.append(said("a"))
    (runtime_of(tmp_path) / "ceiling").write_bytes(b"?")
    async with opened(tmp_path) as store:
        assert [finding.code for finding in store.findings] == ["ceiling_lost"]
        [after] = await (await store.open("w", nobody)).append(said("b"))
        assert after.seq > record.seq


# Who may open it.


async def test_a_second_opener_is_told_who_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreUnusable, match=rf"in use by process {os.getpid()} "):
            async with opened(tmp_path):
                pass
    async with opened(tmp_path):
        pass


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        said_file = store.path / "runtime.json"
    facts = orjson.loads(said_file.read_bytes())
    said_file.write_bytes(orjson.dumps({**facts, "schema": 2}))
    with pytest.raises(StoreUnusable, match=r"has schema 2, and this version of watchglass knows schema 1"):
        async with opened(tmp_path):
            pass
    said_file.write_bytes(orjson.dumps(facts))
    async with opened(tmp_path):
        pass


async def test_a_root_with_several_runtimes_asks_for_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        async with open_filesystem_store(tmp_path, name) as store:
            assert store.runtime_id == name
    with pytest.raises(StoreUnusable, match="several runtimes; name one of one, two"):
        async with opened(tmp_path):
            pass


async def test_a_place_that_cannot_be_a_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "runtimes").write_text("in the way")
    with pytest.raises(StoreUnusable, match=r"runtimes"):
        async with opened(tmp_path):
            pass


# Torn and damaged files.


async def test_a_journal_cut_at_any_byte_has_whole_appends_and_goes_on(in_memory: Path) -> None:
    root = in_memory / "root"
    async with opened(root, durability="os") as store:
        log = await store.create(record_of("w"), nobody)
        appends = [await log.append(said("a" * number, "b")) for number in range(8)]
    [segment] = segments_of(root)
    whole = segment.read_bytes()
    newest = appends[-1][-1].seq
    for size in range(max(0, len(whole) - 1024), len(whole)):
        copy = killed(root)
        os.truncate(segments_of(copy)[0], size)
        async with opened(copy, durability="os", files=FailingFiles()) as store:
            log = await store.open("w", nobody)
            kept = await read_all(log)
            expected = [list(append) for append in appends]
            while sum(expected, []) != kept:  # noqa: RUF017 - eight small lists.
                expected.pop()
            codes = [finding.code for finding in store.findings]
            is_torn = size != 0 and not whole[:size].endswith(b'"}\n')
            assert codes == (["torn_tail"] if is_torn else [])
            if is_torn:
                broken = [path.read_bytes() for path in store.path.glob("broken/*/workers/w/events/*")]
                assert broken == [whole[:size][-len(broken[0]) :]]
            [again] = await log.append(said("again"))
            assert again.seq > newest
            assert await read_all(log) == [*kept, again]


async def test_a_flipped_bit_anywhere_is_never_read_as_right(in_memory: Path) -> None:
    root = in_memory / "root"
    async with opened(root, durability="os") as store:
        log = await store.create(record_of("w"), nobody)
        records = [record for number in range(4) for record in await log.append(said(f"{number}"))]
        other = await store.create(record_of("other"), nobody)
        others = await other.append(said("fine"))
    [segment] = segments_of(root)
    whole = segment.read_bytes()
    commits = [match.start() for match in re.finditer(rb'(?m)^\{"crc', whole)]
    last_verified_from = commits[-2]  # A good append follows what lies before it.
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        segment.write_bytes(damaged)
        async with opened(root, durability="os", files=FailingFiles()) as store:
            log = await store.open("w", nobody)
            kept, fault = await read_until_fault(log)
            assert kept == records[: len(kept)]
            assert len(kept) < len(records)
            if place < last_verified_from or fault is not None:
                assert isinstance(fault, StoreCorrupt)
                assert fault.path == str(segment)
                assert "at offset" in fault.reason
                assert ("error", "corrupt") in [(each.severity, each.code) for each in store.findings]
                with suppress(StoreCorrupt):  # Its own append, or the line before it, is hit.
                    assert await log.read(after=records[-2].seq) == records[-1:]
            else:
                assert [each.code for each in store.findings] == ["torn_tail"]
            assert await read_all(await store.open("other", nobody)) == others
            [again] = await log.append(said("again"))
            assert await log.read(after=Seq(again.seq - 1)) == [again]
        for file in segments_of(root):
            file.unlink()


async def read_until_fault(log: Log) -> tuple[list[Record], StoreFault | None]:
    taken: list[Record] = []
    try:
        while records := await log.read(after=taken[-1].seq if taken else log.trimmed_through, max_records=3):
            taken += records
    except StoreFault as fault:
        return taken, fault
    return taken, None


async def test_a_damaged_record_hides_that_worker_and_no_other(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with opened(root) as store:
        for name in ("w", "other"):
            await store.create(record_of(name), nobody)
    file = runtime_of(root) / "workers" / "w" / "worker.json"
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        async with opened(root) as store:
            assert [record.worker_id for record in await store.load()] == ["other"]
            [finding] = store.findings
            assert (finding.code, finding.worker_id) == ("record_corrupt", "w")
            with pytest.raises(WorkerNotFound):
                await store.open("w", nobody)


async def test_a_damaged_view_is_no_view(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.create(record_of("w"), nobody)
        await store.save_view("w", b"state")
        file = store.directory("w") / "view.json"
        file.write_bytes(file.read_bytes().replace(b"state", b"stale"))
        assert await store.load_view("w") is None


# A hand that removes things.


@pytest.mark.parametrize("lost", ["nothing", "the file"])
async def test_a_record_that_nobody_waited_for_is_there_again(tmp_path: Path, lost: str) -> None:
    """A kill leaves the file; a loss of power may take it, and then a durable append brings its note."""
    root = tmp_path / "root"
    changed = record_of("w").model_copy(update={"reason": "why"})
    async with opened(root) as store:
        log = await store.create(record_of("w"), nobody)
        await log.append(said("a"), durable=True)
        await store.save(changed, durable=False)
        if lost == "the file":
            await log.append(said("b"), durable=True)
        copy = killed(root)
    if lost == "the file":
        (runtime_of(copy) / "workers" / "w" / "worker.json").unlink()
    async with opened(copy) as store:
        assert list(await store.load()) == [changed]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_a_worker_whose_folder_is_removed_is_missing_and_troubles_nobody(
    tmp_path: Path, durability: Durability, *, durable: bool
) -> None:
    async with opened(tmp_path, durability=durability) as store:
        log = await store.create(record_of("w"), nobody)
        other = await store.create(record_of("other"), nobody)
        await log.append(said("a"), durable=durable)
        shutil.rmtree(store.directory("w"))
        for _ in range(2):
            with pytest.raises(StoreMissing):
                await log.append(said("b"), durable=durable)
        with pytest.raises(StoreMissing):
            await store.save(record_of("w"))
        records = await other.append(said("c"), durable=True)
        await store.settle()
    async with opened(tmp_path, durability=durability) as store:
        assert [record.worker_id for record in await store.load()] == ["other"]
        assert await read_all(await store.open("other", nobody)) == records


async def test_a_segment_that_is_gone_is_told_and_never_skipped(tmp_path: Path) -> None:
    small = Retention(max_bytes=8000)
    async with opened(tmp_path, retention=small) as store:
        log = await store.create(record_of("w"), nobody)
        records = [record for _ in range(30) for record in await log.append(said("x" * 40))]
    segments = segments_of(tmp_path)
    assert len(segments) > 4
    segments[2].unlink()
    async with opened(tmp_path, retention=small) as store:
        kept, fault = await read_until_fault(await store.open("w", nobody))
        assert isinstance(fault, StoreMissing)
        first = next(place for place, record in enumerate(records) if record == kept[0])
        assert kept == records[first : first + len(kept)]


# The write-ahead file.


async def test_what_only_the_write_ahead_file_has_is_brought_home(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with opened(root) as store:
        log = await store.create(record_of("w"), nobody)
        records = await log.append(said("a", "b"), durable=True, offsets=StreamOffsets(1, 2, 3))
        records = [*records, *await log.append(said("c"), durable=True)]
        await store.save(record_of("w").model_copy(update={"reason": "why"}))
        announced = await store.runtime_log.append(said("r"), durable=True)
        copy = killed(root)
    for lost in ("segments", "record", "folder"):
        target = killed(copy)
        folder = runtime_of(target) / "workers" / "w"
        if lost == "folder":
            shutil.rmtree(folder)
        elif lost == "record":
            (folder / "worker.json").unlink()
        else:
            for path in segments_of(target):
                path.unlink()
        for _ in range(2):  # And nothing comes twice.
            async with opened(target) as store:
                [record] = await store.load()
                assert record.reason == "why"
                log = await store.open("w", nobody)
                assert await read_all(log) == records
                assert log.offsets == StreamOffsets(1, 2, 3)
                assert await read_all(store.runtime_log) == list(announced)
        assert not list((runtime_of(target) / "journal").glob("wal-*"))


async def test_a_deleted_worker_does_not_rise_from_the_write_ahead_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with opened(root) as store:
        for text in ("first", "second", "third"):
            log = await store.create(record_of("w"), nobody)
            records = await log.append(said(text), durable=True)
            if text != "third":
                await store.delete("w")
        gone = await store.create(record_of("gone"), nobody)
        await gone.append(said("x"), durable=True)
        await store.delete("gone")
        copy = killed(root)
    for lost in (False, True):
        target = killed(copy)
        if lost:
            shutil.rmtree(runtime_of(target) / "workers" / "w")
        async with opened(target) as store:
            assert [record.worker_id for record in await store.load()] == ["w"]
            assert await read_all(await store.open("w", nobody)) == list(records)
            assert not store.directory("gone").exists()


async def test_a_write_ahead_file_cut_at_any_byte_gives_whole_rounds(in_memory: Path) -> None:
    root = in_memory / "root"
    async with opened(root) as store:
        await store.create(record_of("w"), nobody)
        await store.settle()
        log = await store.open("w", nobody)
        records = [r for number in range(3) for r in await log.append(said(f"{number}"), durable=True)]
        copy = killed(root)
    written = without_room(wal_of(copy).read_bytes())
    for end in range(len(written)):
        target = killed(copy)
        os.truncate(wal_of(target), end)
        if end % 8 == 0:
            os.truncate(wal_of(target), len(written) + 100)  # Zeros, as a loss of power may leave them.
        async with opened(target, durability="os", files=FailingFiles()) as store:
            kept = await read_all(await store.open("w", nobody))
            assert kept == records[: len(kept)]


async def test_room_in_a_write_ahead_file_is_no_torn_tail(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with opened(root) as store:
        log = await store.create(record_of("w"), nobody)
        records = [r for number in range(3) for r in await log.append(said(f"{number}"), durable=True)]
        copy = killed(root)
    assert wal_of(copy).read_bytes().endswith(bytes(100))
    async with opened(copy) as store:
        assert await read_all(await store.open("w", nobody)) == records
        assert not store.findings


# Ended workers, retention.


class Watched(Files):
    """Notes which segments are opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        setattr(self, "open", self._open)  # noqa: B010 - the class has a function there.

    def _open(self, path: str, flags: int, mode: int = 0o777) -> int:
        if "/workers/" in path and path.endswith(".jsonl"):
            self.opened.append(path)
        return os.open(path, flags, mode)


async def test_the_log_of_an_ended_worker_is_not_opened_before_it_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        log = await store.create(record_of("w"), nobody)
        records = await grow(log)
        await store.save(ended(record_of("w")))
        facts = facts_of(log)
    files = Watched()
    async with opened(tmp_path, files=files) as store:
        log = await store.open("w", nobody)
        assert facts_of(log) == facts
        assert files.opened == []
        assert await read_all(log) == records
        assert files.opened != []
        records = [*records, *await log.append(said("late"))]
    async with opened(tmp_path) as store:
        assert await read_all(await store.open("w", nobody)) == records


@pytest.mark.parametrize("durable", [False, True])
async def test_old_events_go_with_their_segment(tmp_path: Path, *, durable: bool) -> None:
    clock = Clock()
    hour = Retention(max_age_s=3600)
    async with opened(tmp_path, clock=clock, retention=hour) as store:
        log = await store.create(record_of("w"), nobody)
        records: list[Record] = []
        for _ in range(30):
            records += await log.append(said("x"), durable=durable)
            clock.now_us += 300_000_000
        now_us = clock.now_us - 300_000_000
        kept = await read_all(log, after=log.trimmed_through)
        assert kept == records[-len(kept) :]
        assert now_us - kept[0].seq <= 3600_000_000
        assert len(kept) >= 9
        clock.now_us -= DAY_US
        assert await log.append(said("back"), durable=durable)
        assert log.oldest == kept[0].seq
        facts = facts_of(log)
    async with opened(tmp_path, clock=clock, retention=hour) as store:
        assert facts_of(await store.open("w", nobody)) == facts


async def test_a_segment_that_cannot_be_removed_fails_no_append_and_goes_later(tmp_path: Path) -> None:
    class Stubborn(Files):
        refuse = True

        def __init__(self) -> None:
            setattr(self, "unlink", self._unlink)  # noqa: B010 - the class has a function there.

        def _unlink(self, path: str) -> None:
            if self.refuse and path.endswith(".jsonl"):
                raise PermissionError(13, "Permission denied", path)
            Path(path).unlink()

    files = Stubborn()
    async with opened(tmp_path, retention=Retention(max_events=2), files=files) as store:
        log = await store.create(record_of("w"), nobody)
        records = [record for text in "abcdef" for record in await log.append(said(text))]
        assert await read_all(log, after=log.trimmed_through) == records[-2:]
        assert len(segments_of(tmp_path)) == 6
        with pytest.raises(StoreIo, match="Permission denied"):
            await store.settle()
        files.refuse = False
        await store.settle()
        assert len(segments_of(tmp_path)) == 2


async def test_a_closed_store_takes_nothing_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        log = await store.create(record_of("w"), nobody)
    for act in (log.append(said("a")), store.create(record_of("x"), nobody), store.save(record_of("w"))):
        with pytest.raises(StoreIo, match="the store was closed"):
            await act


async def test_a_folder_that_is_not_ours_among_the_removed_ones_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.create(record_of("w"), nobody)
    foreign = runtime_of(tmp_path) / "removed" / "mine"
    foreign.mkdir()
    async with opened(tmp_path) as store:
        assert [record.worker_id for record in await store.load()] == ["w"]
    assert foreign.is_dir()


async def test_damage_in_the_middle_of_a_write_ahead_file_is_kept_aside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with opened(root) as store:
        log = await store.create(record_of("w"), nobody)
        for text in ("first", "second", "third"):
            await log.append(said(text), durable=True)
        copy = killed(root)
    [wal] = (runtime_of(copy) / "journal").glob("wal-*.jsonl")
    data = bytearray(wal.read_bytes())
    data[data.index(b"second")] ^= 1
    wal.write_bytes(data)
    async with opened(copy) as store:
        [finding] = [finding for finding in store.findings if finding.code == "corrupt"]
        assert str(wal) in finding.message
    kept = [path for path in (runtime_of(copy) / "broken").rglob("*") if path.is_file()]
    assert any(path.read_bytes() in bytes(data) and b"recond" in path.read_bytes() for path in kept)
