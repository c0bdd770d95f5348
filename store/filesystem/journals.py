"""Looks at the write-ahead files of a store that nobody has open, and mends them.

A bad stretch may have held the last events of several logs. Who they were can
often still be read; each of them gets an alert in its place, unless the log's
segments have all of it, and so does the runtime's own log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import orjson

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.identity import WorkerId

from .alerts import seq_between
from .aside import Aside
from .files import Files
from .fixing import alert_line
from .layout import SCHEMA, Layout
from .problems import Exam, Problem
from .records import Kept, kept_of
from .scanning import scan
from .seal import KEY, sealed
from .wal import WAL_FILE

LogId = WorkerId | None
_READ_OF_BAD_BYTES_MAX = 16 << 20
_CURSOR_AND_WHOSE = re.compile(
    rb'\{"cursor":"wo_([0-9a-f]{16})","event_id":"[^"]{1,40}","worker_id":"([A-Za-z0-9._-]{1,255})"'
)
_WHOSE = re.compile(rb'"worker_id":"([A-Za-z0-9._-]{1,255})"')
_MARK = re.compile(rb'\{"log":(?:"([A-Za-z0-9._-]{1,255})"|null)[,}]')


class _Appended(NamedTuple):
    """One append: its place in the order of all rounds, and its sequences."""

    order: int
    first: Seq
    last: Seq


class _Bad(NamedTuple):
    path: str
    order: int
    begin: int
    end: int
    is_torn: bool


@dataclass(slots=True)
class Journal:
    """What the write-ahead files say, and what of them says nothing."""

    paths: list[str] = field(default_factory=list)
    appends: dict[LogId, list[_Appended]] = field(default_factory=dict)
    kept: dict[WorkerId, Kept] = field(default_factory=dict)
    created: set[WorkerId] = field(default_factory=set)
    """Workers that a start makes from here, if their folders are gone."""
    bads: list[_Bad] = field(default_factory=list)

    def promised(self, log: LogId, head: Seq) -> Seq:
        """The first event that a log will get when the store is opened; 0 when it has all."""
        return min((each.first for each in self.appends.get(log, ()) if each.first > head), default=BEGINNING)

    @property
    def newest(self) -> Seq:
        """The newest event of any log."""
        return max((each.last for appends in self.appends.values() for each in appends), default=BEGINNING)


def read_journal(files: Files, layout: Layout) -> Journal:
    """Read every write-ahead file. Raises OSError."""
    journal = Journal()
    names = [name for name in files.listdir(layout.journal) if WAL_FILE.match(name)]
    order = 0
    for name in sorted(names, key=_number):
        path = f"{layout.journal}/{name}"
        journal.paths.append(path)
        for stretch in scan(files, path, has_room=True):
            order += 1
            if stretch.is_good:
                _take_round(stretch.lines, order, journal)
            else:
                journal.bads.append(_Bad(path, order, stretch.begin, stretch.end, stretch.is_torn))
    return journal


def _number(name: str) -> int:
    return int(name[4:-6])


def _take_round(lines: Sequence[bytes], order: int, journal: Journal) -> None:
    seqs: list[Seq] = []
    for line in lines[:-1]:
        if line.startswith(b'{"cursor":'):
            seqs.append(Seq(int(line[14:30], 16)))
        elif line.startswith(b'{"log":'):
            log = orjson.loads(line)["log"]
            if seqs:
                journal.appends.setdefault(log, []).append(_Appended(order, seqs[0], seqs[-1]))
            seqs = []
        elif line.startswith(b'{"delete":'):
            worker_id = orjson.loads(line)["delete"]
            journal.appends.pop(worker_id, None)
            journal.kept.pop(worker_id, None)
            journal.created.discard(worker_id)
        else:
            _take_record(line, journal)


def _take_record(line: bytes, journal: Journal) -> None:
    kept = kept_of(line[line.index(b":") + 1 : -1])
    if kept is not None:
        worker_id = kept.record.worker_id
        older = journal.kept.get(worker_id)
        if older is None or older.version < kept.version:
            journal.kept[worker_id] = kept
        if line.startswith(b'{"create":'):
            journal.created.add(worker_id)


class Heads(NamedTuple):
    """The logs that there are, with the newest event that each has in its segments once they are mended."""

    of: Mapping[LogId, Seq]


def mend_journal(files: Files, layout: Layout, journal: Journal, heads: Heads) -> tuple[Exam, Seq]:
    """What is wrong with the write-ahead files, and the newest alert of a repair. Raises OSError."""
    exam, newest = Exam(), BEGINNING
    homeless = {log for log in journal.appends if log not in heads.of and log not in journal.created}
    alerts: dict[tuple[str, int], list[tuple[str, LogId, Seq]]] = {}
    for bad in journal.bads:
        names = {} if bad.is_torn else _losers(files, bad, journal, heads)
        alerts[bad.path, bad.begin] = [(_said(log), log, seq) for log, seq in names.items()]
        newest = max([newest, *names.values()])
        exam.problems.append(_problem(bad, names))
    for log in sorted(homeless, key=str):
        exam.problems.append(_homeless(layout, log))
    for path in journal.paths:
        if homeless or any(bad.path == path for bad in journal.bads):
            exam.fixes.append(partial(_rewrite, path, alerts, frozenset(homeless)))
    return exam, newest


def _problem(bad: _Bad, names: Mapping[LogId, Seq]) -> Problem:
    size = bad.end - bad.begin
    if bad.is_torn:
        return Problem(
            severity="warning",
            code="wal_torn",
            path=bad.path,
            offset=bad.begin,
            meaning=f"a change of the last moment was never whole ({size} bytes), so nobody was told that it "
            "is safe; nothing else is lost",
            repair="cuts it off",
        )
    workers = ", ".join(sorted(log for log in names if log is not None)) or "nobody who can be named"
    return Problem(
        severity="error",
        code="wal_corrupt",
        path=bad.path,
        offset=bad.begin,
        meaning=f"{size} bytes of the last moments are not those that were written; events may be lost "
        f"of: {workers}; everything older is safe elsewhere",
        repair="takes them out, and puts alerts in their place",
    )


def _homeless(layout: Layout, log: LogId) -> Problem:
    return Problem(
        severity="warning",
        code="worker_missing",
        path=f"{layout.workers}/{log}",
        meaning=f"events of the last moments are there, and worker {log} itself is not; "
        "nobody else is affected",
        repair="keeps them aside",
        worker_id=log,
    )


def _losers(files: Files, bad: _Bad, journal: Journal, heads: Heads) -> dict[LogId, Seq]:
    """Who lost events with a bad stretch, and the sequences of the alerts that say so."""
    data = _bytes_of(files, bad)
    cursors: dict[LogId, list[Seq]] = {}
    for digits, name in _CURSOR_AND_WHOSE.findall(data):
        cursors.setdefault(_log_of(name), []).append(Seq(int(digits, 16)))
    named = {_log_of(name) for name in _WHOSE.findall(data)}
    named |= {name.decode() if name else None for name in _MARK.findall(data)}
    alerts: dict[LogId, Seq] = {}
    for log in sorted((named & heads.of.keys()) | {None}, key=str):
        appends = journal.appends.get(log, ())
        head = heads.of[log]
        seen = cursors.get(log, [])
        if log is not None and seen and max(seen) <= head:
            continue  # Its segments have all of it.
        before = max([head, *(each.last for each in appends if each.order < bad.order)])
        after = min([each.first for each in appends if each.order > bad.order], default=BEGINNING)
        if after and after <= head:
            continue
        seq = seq_between(Seq(before), Seq(after))
        if seq is not None:
            alerts[log] = seq
            journal.appends.setdefault(log, []).append(_Appended(bad.order, seq, seq))
    return alerts


def _bytes_of(files: Files, bad: _Bad) -> bytes:
    fd = files.open(bad.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return files.read_through(fd, min(bad.end - bad.begin, _READ_OF_BAD_BYTES_MAX), bad.begin)
    finally:
        files.close(fd)


def _log_of(name: bytes) -> LogId:
    return None if name == b"runtime" else name.decode()


def _said(log: LogId) -> str:
    return "runtime" if log is None else log


def _rewrite(
    path: str,
    alerts: Mapping[tuple[str, int], Sequence[tuple[str, LogId, Seq]]],
    homeless: frozenset[LogId],
    aside: Aside,
) -> None:
    aside.write(path, _pieces(path, alerts, homeless, aside))


def _pieces(
    path: str,
    alerts: Mapping[tuple[str, int], Sequence[tuple[str, LogId, Seq]]],
    homeless: frozenset[LogId],
    aside: Aside,
) -> Iterator[bytes]:
    """A write-ahead file written anew."""
    number = _number(path.rpartition("/")[2])
    piece, crc = sealed(b'{"wal":%d,"schema":%d,%b' % (number, SCHEMA, KEY))
    yield piece
    for stretch in scan(aside.files, path, has_room=True):
        if stretch.is_good:
            lines = _without(stretch.lines[:-1], homeless) if stretch.begin else []
        else:
            message = (
                f"{stretch.end - stretch.begin} bytes at offset {stretch.begin} of {aside.shown(path)} were "
                f"unreadable and were moved to {aside.shown(aside.place_of(path))}"
            )
            lines = []
            for name, log, seq in alerts.get((path, stretch.begin), ()):
                lines += [alert_line(aside, seq, name, message), orjson.dumps({"log": log})]
        if lines:
            piece, crc = sealed(b'%b\n{"crc":"' % b"\n".join(lines), crc)
            yield piece


def _without(lines: Sequence[bytes], homeless: frozenset[LogId]) -> list[bytes]:
    """The lines of a round but those of some logs."""
    kept: list[bytes] = []
    events: list[bytes] = []
    for line in lines:
        if line.startswith(b'{"cursor":'):
            events.append(line)
            continue
        if line.startswith(b'{"log":'):
            facts: Any = orjson.loads(line)
            if facts["log"] in homeless:
                events = []
                continue
        kept += [*events, line]
        events = []
    return kept
