"""Looks at what supervisors leave in workers' folders, and says how it would be mended.

    run.json, exit.json            whether they can be read
    output.idx                     whole records, no holes, nothing that the logs do not have
    stdout.log, stderr.log         as much as the index and exit.json tell of

Bytes of output are never touched. An index that is damaged is good up to its
first bad record; from there on it is made again from the logs, so every byte
can be read, and only the common order of the two streams is a guess.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from watchglass.protocol.identity import WorkerId
from watchglass.store.filesystem.aside import Aside
from watchglass.store.filesystem.problems import Exam, Problem

from ._adoption import is_held, read_run
from .exits import Report, report_of
from .host import linux
from .host.pump import READ_BYTES, RECORD, STDERR, STDOUT
from .host.record import DRAFT, EXIT, RUN

INDEX = "output.idx"
_LOGS = {STDOUT: "stdout.log", STDERR: "stderr.log"}
_RECORDS_AT_ONCE = 16384
_REBUILT_BYTES = 1 << 20
_NOBODY = {
    "boot_id": "",
    "supervisor": {"pid": 0, "start_ticks": 0},
    "worker": {"pid": 0, "start_ticks": 0},
    "started_at_us": 0,
    "plan": None,
}
"""A run.json that says that the program ran, and nothing else."""


class SupervisorFiles:
    """See `store.filesystem.inspection.Companion`."""

    def examine(self, directory: str, worker_id: WorkerId) -> Exam:
        """What is wrong with a worker's output and records. Raises OSError."""
        look = _Look(directory, worker_id, self.running(directory))
        look.run_file()
        look.exit_file()
        look.leftover()
        if look.has_output():
            look.output()
        return look.exam

    def running(self, directory: str) -> int | None:
        """The pid of the supervisor that holds the worker in this folder; None when none does."""
        run = read_run(Path(directory))
        if run is None or not is_held(Path(directory), run):
            return None
        try:
            is_it = linux.start_ticks(run.supervisor_pid) == run.supervisor_ticks
        except (FileNotFoundError, ProcessLookupError):
            return None
        return run.supervisor_pid if is_it else None


class _Indexed(NamedTuple):
    """What an index tells of: the end of each stream, up to the first record that cannot be true."""

    ends: Mapping[int, int]
    records: int
    time_us: int
    reason: str | None
    """Why the record behind them is bad; None: there is none."""


@dataclass(slots=True)
class _Look:
    directory: str
    worker_id: WorkerId
    running: int | None
    report: Report | None = None
    exam: Exam = field(default_factory=Exam)

    def run_file(self) -> None:
        try:
            told: Any = json.loads(Path(self._path(RUN)).read_bytes())
            _ = str(told["boot_id"]), int(told["supervisor"]["pid"]), int(told["supervisor"]["start_ticks"])
            _ = int(told["worker"]["pid"]), int(told["started_at_us"])
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            self._problem(
                "run_unreadable",
                RUN,
                "cannot be read: if this worker's program still runs, nobody can find it, and the worker "
                "will be lost; its events are there",
                "writes one that says no more than that it ran",
            )
            self.exam.fixes.append(partial(_rewrite, self._path(RUN), json.dumps(_NOBODY).encode()))

    def exit_file(self) -> None:
        try:
            self.report = report_of(json.loads(Path(self._path(EXIT)).read_bytes()))
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            self._problem(
                "exit_unreadable",
                EXIT,
                "cannot be read: how this worker's program ended is known only if its events tell; "
                "they are there",
                "moves it aside",
            )
            self.exam.fixes.append(partial(_move, self._path(EXIT)))

    def leftover(self) -> None:
        """The draft of an exit that nobody will write any more: its supervisor was killed."""
        path = self._path(EXIT + DRAFT)
        if self.running is None and Path(self._path(RUN)).exists() and Path(path).exists():
            meaning = "was never finished, and is not used"
            self.exam.tell(Problem(severity="info", code="leftover", path=path, meaning=meaning))

    def has_output(self) -> bool:
        """Whether a program was ever started in this folder."""
        return any(Path(self._path(name)).exists() for name in (INDEX, *_LOGS.values()))

    def output(self) -> None:
        """Compare the index with the logs; the index is read first, for it is written last."""
        path = self._path(INDEX)
        size = _size(path)
        sizes_before = dict.fromkeys(_LOGS, None)
        indexed = _read_index(path, size // RECORD.size, sizes_before)
        sizes = {stream: _size(self._path(name)) for stream, name in _LOGS.items()}
        if any(end > sizes[stream] for stream, end in indexed.ends.items()):
            indexed = _read_index(path, size // RECORD.size, sizes)
        kept = self._kept()
        until = {stream: min(sizes[stream], kept.get(stream, sizes[stream])) for stream in _LOGS}
        if indexed.reason is not None:
            self._bad_index(
                "output_index_corrupt", indexed.records * RECORD.size, indexed, until, indexed.reason
            )
        elif self._is_short(indexed, sizes, kept):
            told = "ends before the output does: what follows cannot be read, and is there"
            self._bad_index("output_index_short", size, indexed, until, told)
        elif size % RECORD.size and self.running is None:
            offset = size - size % RECORD.size
            self._bad_index("output_index_torn", offset, indexed, indexed.ends, "ends with half a record")
        self._lost_output(kept, sizes)

    def _bad_index(
        self, code: str, offset: int, indexed: _Indexed, until: Mapping[int, int], what: str
    ) -> None:
        """The index is to be made again, up to where each stream ends; not while somebody writes it."""
        self._index_problem(code, offset, what)
        if self.running is None:
            self.exam.fixes.append(partial(_rebuild, self._path(INDEX), indexed, dict(until)))

    def _lost_output(self, kept: Mapping[int, int], sizes: Mapping[int, int]) -> None:
        """Logs that have less than the supervisor kept."""
        lost = [stream for stream in kept if kept[stream] > sizes[stream]]
        for stream in lost:
            gone = kept[stream] - sizes[stream]
            self._problem(
                "output_log_short",
                _LOGS[stream],
                f"the last {gone} bytes of this output are gone; what is before them can be read",
                "says so in exit.json",
                offset=sizes[stream],
            )
        if lost:
            self.exam.fixes.append(partial(_say_less, self._path(EXIT), {s: sizes[s] for s in lost}))

    def _kept(self) -> dict[int, int]:
        """How much of each stream the supervisor said that it kept, if it said so."""
        if self.report is None:
            return {}
        told = self.report.exit
        return {STDOUT: told.stdout.kept_bytes, STDERR: told.stderr.kept_bytes}

    def _is_short(self, indexed: _Indexed, sizes: Mapping[int, int], kept: Mapping[int, int]) -> bool:
        for stream, end in indexed.ends.items():
            if stream in kept:
                if end < min(kept[stream], sizes[stream]):
                    return True
            elif self.running is None and sizes[stream] - end > READ_BYTES:
                return True  # A supervisor that is killed leaves less than one read without a record.
        return False

    def _index_problem(self, code: str, offset: int, what: str) -> None:
        repair: str | None = "makes the rest of it again from the output, which is whole"
        if self.running is not None:
            what += f"; the program still runs (supervisor {self.running}), and a repair waits for its end"
            repair = None
        elif code == "output_index_torn":
            repair = "cuts that off"
        self._problem(code, INDEX, f"{what}; no byte of output is lost", repair, offset=offset)

    def _problem(
        self, code: str, name: str, meaning: str, repair: str | None, *, offset: int | None = None
    ) -> None:
        severity: Literal["warning", "error"] = "warning" if code == "output_index_torn" else "error"
        self.exam.tell(
            Problem(
                severity=severity,
                code=code,
                path=self._path(name),
                offset=offset,
                meaning=meaning,
                repair=repair,
                worker_id=self.worker_id,
            )
        )

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


def _read_index(path: str, count: int, sizes: Mapping[int, int | None]) -> _Indexed:
    """What the first records say, as long as each goes on where its stream is and its log has the bytes."""
    ends = dict.fromkeys(_LOGS, 0)
    number, newest_us = 0, 0
    for record in _records(path, count):
        time_us, offset, length, stream = RECORD.unpack(record)
        limit = sizes.get(stream)
        reason = None
        if stream not in ends or any(record[21:]) or length == 0:
            reason = "has a record that is none"
        elif offset != ends[stream]:
            reason = "has a record that does not go on where the one before it ends"
        elif limit is not None and offset + length > limit:
            reason = f"tells of bytes that {_LOGS[stream]} does not have"
        if reason is not None:
            return _Indexed(ends, number, newest_us, reason)
        ends[stream] += length
        number, newest_us = number + 1, time_us
    return _Indexed(ends, number, newest_us, None)


def _records(path: str, count: int) -> Iterator[bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        at = 0
        while at < count:
            block = os.pread(fd, min(_RECORDS_AT_ONCE, count - at) * RECORD.size, at * RECORD.size)
            whole = len(block) // RECORD.size
            if not whole:
                return
            for number in range(whole):
                yield block[number * RECORD.size : (number + 1) * RECORD.size]
            at += whole
    finally:
        os.close(fd)


# What is done.


def _move(path: str, aside: Aside) -> None:
    aside.move(path)


def _rewrite(path: str, content: bytes, aside: Aside) -> None:
    aside.write(path, [content])


def _rebuild(path: str, indexed: _Indexed, until: Mapping[int, int], aside: Aside) -> None:
    aside.write(path, _rebuilt(path, indexed, until))


def _rebuilt(path: str, indexed: _Indexed, until: Mapping[int, int]) -> Iterator[bytes]:
    """The good records, then the rest of each stream."""
    block = bytearray()
    for record in _records(path, indexed.records):
        block += record
        if len(block) >= _REBUILT_BYTES:
            yield bytes(block)
            block.clear()
    for stream, end in indexed.ends.items():
        for offset in range(end, until[stream], _REBUILT_BYTES):
            length = min(_REBUILT_BYTES, until[stream] - offset)
            block += RECORD.pack(indexed.time_us, offset, length, stream)
    yield bytes(block)


def _say_less(path: str, sizes: Mapping[int, int], aside: Aside) -> None:
    """Let exit.json tell of as much output as there is."""
    told = json.loads(Path(path).read_bytes())
    for stream, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
        if stream in sizes:
            told[name]["kept_bytes"] = sizes[stream]
    aside.write(path, [json.dumps(told).encode()])
