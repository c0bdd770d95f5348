"""Where everything of a runtime stands, and who may write there.

    <root>/runtimes/<runtime_id>/
        runtime.json     {"schema":1,"runtime_id":…,"created_at":…,"version":…}
        lock             held with flock(2) for the life of the store; says who holds it
        ceiling          sequences below it may have been issued
        journal/wal-<n>.jsonl, journal/events/<first seq>.jsonl
        workers/<worker_id>/worker.json, events/<first seq>.jsonl, view.json, …
        removed/…        deleted workers whose files are just going
        incoming-…/      a worker that is just arriving from elsewhere; the next start removes it
        broken/<when>/…  what recovery cut off; nothing here is ever read or removed

Names are ids or 16 hex digits, and what the store makes beside them begins
with `+`, which no id has: so no id can name a path of somebody else's.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

import watchglass
from watchglass.protocol.cursor import Seq
from watchglass.protocol.identity import RuntimeId, WorkerId, id_fault
from watchglass.store.base import StoreUnusable
from watchglass.store.numbering import rfc3339
from watchglass.store.spreading import spread_folders_in

from .files import DIRECTORY_MODE, FILE_MODE, Files

SCHEMA = 1
EVENTS = "events"


class Layout:
    """The paths of one runtime's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        base = str(path)
        self.runtime_json = f"{base}/runtime.json"
        self.lock = f"{base}/lock"
        self.ceiling = f"{base}/ceiling"
        self.journal = f"{base}/journal"
        self.runtime_events = f"{base}/journal/events"
        self.workers = f"{base}/workers"
        self.removed = f"{base}/removed"
        self.broken = f"{base}/broken"

    def worker(self, worker_id: WorkerId) -> str:
        """The folder that is this worker's own."""
        return f"{self.workers}/{worker_id}"

    def salvaged(self, now_us: int) -> str:
        """Where a start at this time puts what it finds broken."""
        when = rfc3339(now_us).replace("-", "").replace(":", "")
        return f"{self.broken}/{when}"

    def events(self, worker_id: WorkerId) -> str:
        """Where the segments of this worker's log stand."""
        return f"{self.workers}/{worker_id}/{EVENTS}"

    def unborn(self, worker_id: WorkerId) -> str:
        """Where a worker's folder is made, before it takes its name."""
        return f"{self.workers}/+{worker_id}"

    def directories(self) -> Sequence[str]:
        """What a runtime has from its beginning, parents first."""
        base = str(self.path)
        return (base, self.journal, self.runtime_events, self.workers, self.removed)


def segment_name(first: Seq) -> str:
    """The file name of the segment that begins with this event."""
    return f"{first:016x}.jsonl"


def runtime_directories(root: Path) -> list[Path]:
    """The directory of each runtime that was ever kept under this root, by name."""
    try:
        found = sorted((root / "runtimes").iterdir())
    except FileNotFoundError:
        return []
    return [path for path in found if id_fault(path.name) is None and path.is_dir()]


def only_runtime(root: Path) -> RuntimeId | None:
    """The runtime that a root is about; None when it has none.

    Raises:
        StoreUnusable: It has several, or cannot be read.
    """
    try:
        found = [path.name for path in runtime_directories(root)]
    except OSError as fault:
        raise StoreUnusable(f"cannot read {fault.filename or root}: {fault.strerror}") from fault
    if len(found) > 1:
        raise StoreUnusable(f"{root} keeps several runtimes; name one of {', '.join(found)}")
    return found[0] if found else None


def prepare(layout: Layout, runtime_id: RuntimeId, now_us: int, files: Files) -> DirectoryLock:
    """Make what is missing of a runtime's directory, lock it, and check that we understand what is there.

    Raises:
        StoreUnusable: It is in use, of a newer schema, or cannot be read or made.
    """
    try:
        layout.path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        files.make_directory(str(layout.path))
        lock = DirectoryLock(layout, now_us)
        try:
            _understand_or_introduce(layout, runtime_id, now_us, files)
        except BaseException:
            lock.release()
            raise
    except OSError as fault:
        path = fault.filename or layout.path
        raise StoreUnusable(f"cannot use {path} as a store: {fault.strerror or fault}") from fault
    return lock


def _understand_or_introduce(layout: Layout, runtime_id: RuntimeId, now_us: int, files: Files) -> None:
    try:
        said = files.read_whole(layout.runtime_json)
    except FileNotFoundError:
        said = b""
    if said:
        _understand(layout, said)
    for directory in layout.directories():
        files.make_directory(directory)
    spread_folders_in(layout.workers)
    if not said:
        _introduce(layout, runtime_id, now_us, files)


def _introduce(layout: Layout, runtime_id: RuntimeId, now_us: int, files: Files) -> None:
    facts = {
        "schema": SCHEMA,
        "runtime_id": runtime_id,
        "created_at": rfc3339(now_us),
        "version": watchglass.__version__,
    }
    files.replace(layout.runtime_json, orjson.dumps(facts) + b"\n", synced=True)
    files.sync_directory(str(layout.path.parent))


def _understand(layout: Layout, said: bytes) -> None:
    try:
        facts: Any = json.loads(said)
        found = int(facts["schema"])
    except (ValueError, KeyError, TypeError):
        raise StoreUnusable(
            f"{layout.runtime_json} does not say which schema this store has; restore it from a backup"
        ) from None
    if found > SCHEMA:
        raise StoreUnusable(
            f"{layout.path} has schema {found}, and this version of watchglass knows schema {SCHEMA}; "
            f"use the newer version that wrote it (version {facts.get('version', 'unknown')} began it)"
        )


class DirectoryLock:
    """The right to write in a runtime's directory: one process at a time, dropped by the kernel with it."""

    def __init__(self, layout: Layout, now_us: int) -> None:
        """Take the lock.

        Raises:
            StoreUnusable: Somebody else has it (the text says who), or it cannot be made.
        """
        try:
            self._fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as fault:
            raise StoreUnusable(f"cannot lock {layout.lock}: {fault.strerror}") from fault
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            holder = os.pread(self._fd, 4096, 0)
            os.close(self._fd)
            raise StoreUnusable(_held(layout, holder, fault)) from None
        said = {"pid": os.getpid(), "start_ticks": _start_ticks(), "since": rfc3339(now_us)}
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, orjson.dumps(said) + b"\n", 0)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._fd)


def _held(layout: Layout, holder: bytes, fault: OSError) -> str:
    if not isinstance(fault, BlockingIOError):
        return f"cannot lock {layout.lock}: {fault.strerror}"
    try:
        who = orjson.loads(holder)
        name = f"process {who['pid']} (since {who['since']})"
    except (ValueError, KeyError, TypeError):
        name = "another process"
    return f"{layout.path} is in use by {name}; stop it first, or use another directory"


def _start_ticks() -> int:
    """When this process began, in clock ticks since boot: with its pid it names one process for ever."""
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[19])
