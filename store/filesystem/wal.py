"""The write-ahead file: durable appends of all logs, and the catalog's changes, in one place to sync.

    journal/wal-<n>.jsonl

    {"wal":7,"schema":1,"crc":"…"}               opening line
    {"cursor":…}                                 the events of one append, then whose they are
    {"log":"w1"}                                 (null: the runtime's own log)
    {"cursor":…}
    {"log":"w1","io":[12,3456,0]}                … and the offsets that came with them
    {"create":{…}}  {"save":{…}}                 a worker's record, as `worker.json` has it
    {"delete":"w1","before":"<16 hex>"}          all of this worker that is older is gone
    {"crc":"…"}                                  ends a round: all of it counts, or nothing
    0 0 0 …                                      room for the next rounds (`ahead.py`)

What is asked for in one step of the loop is one round: one write, then it is
visible, then one sync in a thread, then the callers return. What nobody waits
for is written and visible at once, and synced together with the next round that
somebody waits for, or a second later. The segments get the same events later;
when they have them safely, the file goes.

A sync that failed may have lost what the system takes for written. So the next
round begins a fresh file, with all that was not synced in the old one.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import orjson

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import StoreFault, StoreIo
from watchglass.protocol.events import Event
from watchglass.protocol.identity import WorkerId
from watchglass.store.base import Record, StreamOffsets

from .ahead import room_bytes_behind
from .files import FILE_MODE, Files
from .layout import SCHEMA
from .seal import KEY, sealed
from .sync import SyncThread
from .unsynced import LogSync

if TYPE_CHECKING:
    from .log import FileLog

WAL_FILE = re.compile(r"wal-(\d+)\.jsonl\Z")
ROTATE_BYTES = 8 << 20
_ROUND_END = b'{"crc":"'


class _Asked(NamedTuple):
    """One append of a round."""

    log: FileLog
    records: Sequence[Record]
    events: Sequence[Event]
    offsets: StreamOffsets | None
    waiter: asyncio.Future[None] | None


class _Note(NamedTuple):
    """A change of the catalog, and who waits for it."""

    line: bytes
    waiter: asyncio.Future[None] | None


class _Round(NamedTuple):
    """A round that is written and not yet synced."""

    body: bytes
    waiters: list[asyncio.Future[None]]
    syncs: Sequence[LogSync]
    """What must be on the disk as well: earlier events of the same logs, which stand in segments alone."""


class _WalFile:
    """One open file."""

    def __init__(self, files: Files, directory: str, number: int) -> None:
        """Make it. Raises OSError."""
        self._files = files
        self.number = number
        self.path = f"{directory}/wal-{number:08d}.jsonl"
        self.fd = files.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        self.named = False
        self.size_bytes = 0
        self._room_bytes = 0
        opening, self._crc = sealed(b'{"wal":%d,"schema":%d,%b' % (number, SCHEMA, KEY))
        try:
            self._put(opening)
        except OSError:
            files.close(self.fd)
            raise

    def write(self, body: bytes) -> None:
        """Write a round. Raises OSError; then it may be there in part."""
        crc = crc32(body, self._crc)
        end = b'%08x"}\n' % crc
        self._put(body + end)
        self._crc = crc32(end, crc)

    def _put(self, data: bytes) -> None:
        """Write into the room that is there, or make it with what is written."""
        size_bytes = len(data)
        if size_bytes > self._room_bytes:
            room = bytes(room_bytes_behind(size_bytes))
            data += room
            self._room_bytes = size_bytes + len(room)
        self._files.write_at(self.fd, data, self.size_bytes)
        self.size_bytes += size_bytes
        self._room_bytes -= size_bytes

    def cut(self) -> None:
        """Take back a round that failed. Raises OSError."""
        self._room_bytes = 0
        self._files.truncate(self.fd, self.size_bytes)


class WriteAhead:
    """Gathers, writes and syncs rounds."""

    def __init__(self, files: Files, directory: str, next_number: int, thread: SyncThread) -> None:
        """Go on with files numbered from `next_number`; the first is made with the first round."""
        self._loop = asyncio.get_running_loop()
        self._files = files
        self._directory = directory
        self._next = next_number
        self._thread = thread
        self._file: _WalFile | None = None
        self._retired: list[_WalFile] = []
        self._asked: list[_Asked] = []
        self._unseen: list[_Asked] = []
        self._noted: list[_Note] = []
        self._scheduled = False
        self._unsynced: list[_Round] = []
        self._syncing: list[_Round] | None = None
        self._repeat: list[bytes] = []

    @property
    def first_unseen(self) -> Seq | None:
        """The first sequence that was gathered and is not visible yet: they are gathered in order."""
        unseen = self._unseen or self._asked
        return unseen[0].records[0].seq if unseen else None

    def gather(
        self,
        log: FileLog,
        records: Sequence[Record],
        events: Sequence[Event],
        offsets: StreamOffsets | None,
    ) -> asyncio.Future[None]:
        """Take an append into the next round; done when it is synced, or with StoreIo."""
        if not self._scheduled:
            self._schedule()
        waiter = self._loop.create_future()
        self._asked.append(_Asked(log, records, events, offsets, waiter))
        log.gathered += 1
        return waiter

    def put(
        self,
        log: FileLog,
        records: Sequence[Record],
        events: Sequence[Event],
        offsets: StreamOffsets | None,
    ) -> None:
        """Write an append now, behind what was gathered, and show it; its sync can wait. Raises StoreIo."""
        self._asked.append(_Asked(log, records, events, offsets, None))
        log.gathered += 1
        fault = self.write_round()
        if fault is not None:
            raise StoreIo("write", self._directory, fault.strerror or str(fault))

    def note(self, line: bytes) -> None:
        """Take a change of the catalog into the next round that comes by itself, in a second at most."""
        self._noted.append(_Note(line, None))

    def ask(self, line: bytes) -> asyncio.Future[None]:
        """Take a change of the catalog into the next round; done when it is synced, or with StoreIo."""
        if not self._scheduled:
            self._schedule()
        waiter = self._loop.create_future()
        self._noted.append(_Note(line, waiter))
        return waiter

    async def quiet(self) -> Sequence[StoreFault]:
        """Write and sync all that was asked for so far; what went wrong with it."""
        self.write_round()
        faults: list[StoreFault] = []
        while self._syncing is not None or self._unsynced:
            waiter = self._loop.create_future()
            (self._unsynced or self._syncing or [])[-1].waiters.append(waiter)
            self._sync()
            try:
                await waiter
            except StoreFault as fault:
                faults.append(fault)
        return faults

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._write_scheduled)

    def _write_scheduled(self) -> None:
        self._scheduled = False
        self.write_round()

    def hurry(self) -> None:
        """Begin to bring to the disk what nobody waits for."""
        if self._repeat or self._noted:
            self.write_round()
        self._sync(also_unawaited=True)

    def write_round(self) -> OSError | None:
        """Write what was gathered, now, and show it; a failure is told to those who asked for it."""
        asked, self._asked = self._asked, []
        noted, self._noted = self._noted, []
        if not asked and not noted and not self._repeat:
            return None
        waiters = [each.waiter for each in asked if each.waiter is not None]
        waiters += [each.waiter for each in noted if each.waiter is not None]
        body = b"".join(self._repeat) + _body(noted, asked)
        for each in asked:
            each.log.gathered -= 1
        try:
            self._write(body + _ROUND_END)
        except OSError as fault:
            self._noted = [each for each in noted if each.waiter is None] + self._noted
            _tell(waiters, "write", self._directory, fault)
            return fault
        self._repeat = []
        syncs = [each.log.begin_sync() for each in asked if each.log.loose]
        self._unsynced.append(_Round(body, waiters, syncs))
        self._unseen = asked
        try:
            for each in asked:
                _show(each)
        finally:
            self._unseen = []
            self._sync()
        return None

    def _write(self, data: bytes) -> None:
        file = self._file
        if file is None:
            file = self._file = _WalFile(self._files, self._directory, self._next)
            self._next += 1
        try:
            file.write(data)
        except OSError:
            try:
                file.cut()
            except OSError as torn:  # Its good part counts; the torn part is cut at recovery.
                lost, self._unsynced = self._unsynced, []
                self._give_up(lost, torn)
            raise

    def _give_up(self, lost: Sequence[_Round], fault: OSError) -> None:
        """Begin a fresh file, with what may be missing in this one; whoever waits for that is told."""
        path = self._file.path if self._file else self._directory
        for sync in [sync for each in lost for sync in each.syncs]:
            sync.log.end_sync(sync, fault)
        self._repeat = [each.body for each in lost] + self._repeat
        self._retire()
        _tell([waiter for each in lost for waiter in each.waiters], "sync", path, fault)

    # Syncing.

    def _sync(self, *, also_unawaited: bool = False) -> None:
        if self._syncing is not None or not self._unsynced:
            return
        if not also_unawaited and not any(each.waiters for each in self._unsynced):
            return
        file = self._file
        assert file is not None
        rounds, self._unsynced = self._unsynced, []
        self._syncing = rounds
        directory = None if file.named else self._directory

        def job() -> None:
            for each in rounds:
                for sync in each.syncs:
                    sync.run(self._files, self._files.sync_directory)
            self._files.fdatasync(file.fd)
            if directory is not None:
                self._files.sync_directory(directory)

        self._thread.submit(job, partial(self._synced, file))

    def _synced(self, file: _WalFile, fault: OSError | None) -> None:
        rounds, self._syncing = self._syncing, None
        assert rounds is not None
        if fault is None:
            for each in rounds:
                for sync in each.syncs:
                    sync.log.end_sync(sync, None)
            file.named = True
            self._sync()
            for waiter in [waiter for each in rounds for waiter in each.waiters]:
                if not waiter.done():
                    waiter.set_result(None)
            return
        lost, self._unsynced = [*rounds, *self._unsynced], []
        self._give_up(lost, fault)

    # The life of its files.

    @property
    def is_large(self) -> bool:
        """Whether it is time to bring home what the files hold."""
        return bool(self._retired) or (self._file is not None and self._file.size_bytes >= ROTATE_BYTES)

    def rotate(self) -> int:
        """Begin a fresh file with the next round; the newest number that is complete, -1 for none."""
        if self._syncing is None and not self._unsynced:
            self._retire()
        return self._retired[-1].number if self._retired else -1

    def forget(self, through: int) -> None:
        """Remove the complete files up to a number: what they hold is safe elsewhere. Raises OSError."""
        while self._retired and self._retired[0].number <= through:
            self._files.unlink(self._retired[0].path)
            self._files.close(self._retired.pop(0).fd)

    def close(self) -> None:
        """Let the files be, as they are."""
        if self._file is not None:
            self._retire()
        for file in self._retired:
            self._files.close(file.fd)
        self._retired = []

    def _retire(self) -> None:
        if self._file is not None:
            self._retired.append(self._file)
            self._file = None


def _show(asked: _Asked) -> None:
    log, records, events, offsets, waiter = asked
    try:
        log.accept(records, events, offsets)
    except Exception as fault:  # Whoever appended hears it, and nobody else's append suffers.
        if waiter is None:
            raise
        if not waiter.done():
            waiter.set_exception(fault)


def _body(noted: Sequence[_Note], asked: Sequence[_Asked]) -> bytes:
    """The lines of a round, without the one that ends it."""
    pieces = [each.line for each in noted]
    for log, records, _events, offsets, _waiter in asked:
        pieces += [line for _, line in records]
        pieces.append(log.mark if offsets is None else log.mark[:-1] + b',"io":[%d,%d,%d]}' % offsets)
    pieces.append(b"")
    return b"\n".join(pieces)


def _tell(waiters: Sequence[asyncio.Future[None]], operation: str, path: str, fault: OSError) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(StoreIo(operation, path, fault.strerror or str(fault)))


def delete_note(worker_id: WorkerId, before: Seq) -> bytes:
    """The tombstone of a worker: what is older than `before` never was."""
    return orjson.dumps({"delete": worker_id, "before": f"{before:016x}"})
