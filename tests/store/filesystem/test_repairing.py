"""What is broken is found, told with its place, and moved aside; all that is good stays, byte for byte."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.store.base import Record, StoreUnusable, StreamOffsets
from watchglass.store.filesystem.ahead import without_room
from watchglass.store.filesystem.examining import Append, examine_segment, parts
from watchglass.store.filesystem.files import Files
from watchglass.store.filesystem.layout import DirectoryLock, Layout
from watchglass.store.filesystem.records import read_record
from watchglass.store.filesystem.repairing import Repair
from watchglass.store.filesystem.seal import sealed, sealed_json
from watchglass.store.filesystem.segment import Opening, commit_line, opening_line

from support.damage import (
    CLOCK,
    Built,
    appended_spans,
    build,
    check,
    contents,
    flip,
    is_alert,
    read_back,
    repair,
)
from support.failing_files import FailingFiles


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A store that was closed."""
    return build(tmp_path_factory.mktemp("healthy"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A store whose process was killed: the last events are in a write-ahead file alone."""
    return build(tmp_path_factory.mktemp("killed"), killed=True)


def copied(built: Built, to: Path) -> Built:
    root = built.path.parent.parent
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(root, to)
    return Built(to / "runtimes" / "rt", built.appends)


def all_records(built: Built, name: str) -> list[Record]:
    return [record for append in built.appends[name] for record in append]


def in_order(records: Sequence[Record]) -> bool:
    return all(one.seq < other.seq for one, other in pairwise(records))


def agree(built: Built, lost: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
    """The real store opens without findings and reads all but what was lost; the alerts, by log."""
    read, findings = read_back(built)
    assert list(findings) == []
    alerts: dict[str, list[Record]] = {}
    for name, records in read.items():
        gone = lost.get(name, ())
        assert [each for each in records if not is_alert(each)] == [
            each for each in all_records(built, name) if each not in gone
        ]
        assert in_order(records)
        alerts[name] = [each for each in records if is_alert(each)]
    return alerts


def codes(found: Any) -> set[str]:
    return {each.code for each in found.exam.problems if each.severity != "info"}


def repaired(built: Built, files: Files | None = None) -> Repair:
    """Repair, and see that every file that was there is there, or in `broken`."""
    before = {digest for _, digest in contents(built.path)}
    done = repair(built, files or FailingFiles())
    assert done.left.exam.is_clean, done.left.exam.problems
    assert before <= {digest for _, digest in contents(built.path)}
    return done


def test_a_healthy_store_has_no_problem_and_a_repair_does_nothing(healthy: Built, killed: Built) -> None:
    for built in (healthy, killed):
        before = contents(built.path)
        found = check(built)
        assert found.exam.problems == []
        assert (found.schema, found.workers) == (1, 3)
        assert repair(built, FailingFiles()).moved_to is None
        assert contents(built.path) == before
    assert found.segments >= 8


def test_a_flipped_bit_is_found_at_its_place_and_costs_no_other_append(
    healthy: Built, tmp_path: Path
) -> None:
    chosen = random.Random(7)
    segments = [*healthy.segments, *healthy.path.glob("journal/events/*.jsonl")]
    by_log: dict[str, list[Path]] = {}
    for path in segments:
        by_log.setdefault(path.parent.parent.name, []).append(path)
    for _ in range(30):
        built = copied(healthy, tmp_path / "flipped")
        hits: dict[str, tuple[Path, int]] = {}
        for log, paths in by_log.items():
            path = built.path / chosen.choice(paths).relative_to(healthy.path)
            hits[log] = path, chosen.randrange(path.stat().st_size)
        lost: dict[str, list[Record]] = {}
        for log, (path, offset) in hits.items():
            name = "runtime" if log == "journal" else log
            [seqs] = [seqs for begin, end, seqs in appended_spans(path) if begin <= offset < end]
            lost[name] = [each for each in all_records(built, name) if each.seq in seqs]
            flip(path, offset, chosen.randrange(8))
        found = check(built)
        for path, offset in hits.values():
            [told] = [each for each in found.exam.problems if each.path == str(path)]
            assert told.offset is not None
            assert told.offset <= offset
        assert len(found.exam.problems) == len(hits)
        repaired(built)
        read, findings = read_back(built)
        assert list(findings) == []
        for name, records in read.items():
            kept = [each for each in records if not is_alert(each)]
            alerts = [each for each in records if is_alert(each)]
            gone = [each for each in all_records(built, name) if each not in kept]
            assert gone in ([], lost[name])
            assert kept == [each for each in all_records(built, name) if each not in gone]
            assert len(alerts) == bool(gone)
            assert in_order(records)


@dataclass(frozen=True)
class Case:
    """A way to damage a store, what is found then, and who is told by an alert what they lost."""

    damage: Callable[[Built], Mapping[str, Sequence[Record]]]
    codes: set[str]
    alerts: Mapping[str, int]
    is_killed: bool = False


def events_of(built: Built, worker: str) -> list[Path]:
    return sorted(built.path.glob(f"workers/{worker}/events/*.jsonl"))


def records_in(built: Built, worker: str, *paths: Path) -> list[Record]:
    seqs = {seq for path in paths for _, _, each in appended_spans(path) for seq in each}
    return [each for each in all_records(built, worker) if each.seq in seqs]


def zeros(built: Built) -> Mapping[str, Sequence[Record]]:
    """A block of zeros over two appends."""
    path = events_of(built, "a")[0]
    spans = appended_spans(path)
    begin, end = spans[2][0] + 40, spans[3][0] + 40
    data = path.read_bytes()
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    return {"a": [each for each in all_records(built, "a") if each.seq in {*spans[2][2], *spans[3][2]}]}


def no_middle(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "a")[1]
    lost = records_in(built, "a", path)
    path.unlink()
    return {"a": lost}


def only_zeros(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "a")[1]
    lost = records_in(built, "a", path)
    path.write_bytes(bytes(path.stat().st_size))
    return {"a": lost}


def two_of_zeros(built: Built) -> Mapping[str, Sequence[Record]]:
    paths = events_of(built, "a")[1:3]
    lost = records_in(built, "a", *paths)
    for path in paths:
        path.write_bytes(bytes(path.stat().st_size))
    return {"a": lost}


def first_of_zeros(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "a")[0]
    lost = records_in(built, "a", path)
    path.write_bytes(bytes(path.stat().st_size))
    return {"a": lost}


def half_of_the_end(built: Built) -> Mapping[str, Sequence[Record]]:
    """A full segment that was cut short: others follow."""
    path = events_of(built, "a")[1]
    begin, end, seqs = appended_spans(path)[-1]
    path.write_bytes(path.read_bytes()[: (begin + end) // 2])
    return {"a": [each for each in all_records(built, "a") if each.seq in seqs]}


def torn(built: Built) -> Mapping[str, Sequence[Record]]:
    with events_of(built, "b")[-1].open("ab") as file:
        file.write(b'{"cursor":"wo_0006')
    return {}


def torn_new(built: Built) -> Mapping[str, Sequence[Record]]:
    (events_of(built, "b")[-1].parent / f"{1 << 60:016x}.jsonl").write_bytes(b'{"after":"0006')
    return {}


def begun(built: Built, tail: bytes) -> Path:
    """Make a newest segment of `b` that has an opening line alone, and perhaps the beginning of an append."""
    path = events_of(built, "b")[-1]
    found = examine_segment(Files(), str(path.parent), Seq(int(path.stem, 16)), "b", BEGINNING)
    assert found.opening is not None
    offsets = found.offsets or found.opening.offsets
    opening = Opening(found.head, found.opening.events + found.events, offsets)
    fresh = path.with_name(f"{found.head + 1:016x}.jsonl")
    fresh.write_bytes(sealed(opening_line(opening))[0] + tail)
    return fresh


def torn_begun(built: Built) -> Mapping[str, Sequence[Record]]:
    begun(built, b'{"cursor":"wo_0006')
    return {}


def torn_begun_alone(built: Built) -> Mapping[str, Sequence[Record]]:
    """Retention dropped all else; only the opening line knows how far the log was."""
    fresh = begun(built, b'{"cursor":"wo_0006')
    for path in events_of(built, "b"):
        if path != fresh:
            path.unlink()
    return {"b": all_records(built, "b")}


def no_opening(built: Built) -> Mapping[str, Sequence[Record]]:
    flip(events_of(built, "a")[0], 12, 0)
    flip(events_of(built, "a")[1], 12, 0)
    return {}


def misnamed(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "a")[1]
    path.rename(path.with_name(f"{int(path.stem, 16) - 1:016x}.jsonl"))
    return {}


def copy_of_another(built: Built) -> Mapping[str, Sequence[Record]]:
    """A file of somebody else's events, between ours."""
    path = events_of(built, "a")[1]
    shutil.copy(events_of(built, "b")[0], path.with_name(f"{int(path.stem, 16) + 1:016x}.jsonl"))
    return {}


def copy_of_itself(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "a")[1]
    shutil.copy(path, path.with_name(f"{int(path.stem, 16) + 1:016x}.jsonl"))
    return {}


def copy_before_all(built: Built) -> Mapping[str, Sequence[Record]]:
    """A copy of a late file that comes first by its name."""
    first = events_of(built, "a")[0]
    shutil.copy(events_of(built, "a")[2], first.with_name(f"{int(first.stem, 16) - 1:016x}.jsonl"))
    return {}


def copy_behind_all(built: Built) -> Mapping[str, Sequence[Record]]:
    last = events_of(built, "b")[-1]
    shutil.copy(events_of(built, "a")[0], last.with_name(f"{int(last.stem, 16) + 9:016x}.jsonl"))
    return {}


def newest_of_ended(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "c")[-1]
    lost = records_in(built, "c", path)
    path.unlink()
    return {"c": lost}


def tail_of_ended(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "c")[-1]
    _, end, seqs = appended_spans(path)[-1]
    path.write_bytes(path.read_bytes()[: end - 30])
    return {"c": [each for each in all_records(built, "c") if each.seq in seqs]}


def oldest_of_ended(built: Built) -> Mapping[str, Sequence[Record]]:
    path = events_of(built, "c")[0]
    lost = records_in(built, "c", path)
    path.unlink()
    return {"c": lost}


def no_events(built: Built) -> Mapping[str, Sequence[Record]]:
    shutil.rmtree(events_of(built, "b")[0].parent)
    return {"b": all_records(built, "b")}


def no_events_of_ended(built: Built) -> Mapping[str, Sequence[Record]]:
    shutil.rmtree(events_of(built, "c")[0].parent)
    return {"c": all_records(built, "c")}


def view(built: Built) -> Mapping[str, Sequence[Record]]:
    (built.path / "workers" / "a" / "view.json").write_bytes(b"no view")
    return {}


def ceiling(built: Built) -> Mapping[str, Sequence[Record]]:
    flip(built.path / "ceiling", 12, 1)
    return {}


def no_ceiling(built: Built) -> Mapping[str, Sequence[Record]]:
    (built.path / "ceiling").unlink()
    return {}


def runtime_json(built: Built) -> Mapping[str, Sequence[Record]]:
    (built.path / "runtime.json").write_bytes(b'{"schema":1,"runtime')
    return {}


def no_runtime_json(built: Built) -> Mapping[str, Sequence[Record]]:
    (built.path / "runtime.json").unlink()
    return {}


def stranger_among_removed(built: Built) -> Mapping[str, Sequence[Record]]:
    (built.path / "removed" / "something").mkdir()
    return {}


def torn_journal(built: Built) -> Mapping[str, Sequence[Record]]:
    [path] = built.path.glob("journal/*.jsonl")
    data = path.read_bytes()
    end, torn = len(without_room(data)), b'{"cursor":"wo_0006'
    path.write_bytes(data[:end] + torn + data[end + len(torn) :])
    return {}


def no_worker(built: Built) -> Mapping[str, Sequence[Record]]:
    """Somebody removed a worker whose last events are in the write-ahead file."""
    shutil.rmtree(built.path / "workers" / "b")
    return {}


def old_ceiling(built: Built) -> Mapping[str, Sequence[Record]]:
    (built.path / "ceiling").write_bytes(sealed_json({"below": f"{1 << 40:016x}"}))
    return {}


def foreign_runtime_json(built: Built) -> Mapping[str, Sequence[Record]]:
    path = built.path / "runtime.json"
    path.write_bytes(path.read_bytes().replace(b'"rt"', b'"other"'))
    return {}


def other_opening(built: Built) -> Mapping[str, Sequence[Record]]:
    """A sealed opening line that says something else."""
    path = events_of(built, "a")[1]
    found = examine_segment(Files(), str(path.parent), Seq(int(path.stem, 16)), "a", BEGINNING)
    assert found.opening is not None
    begin, crc = sealed(opening_line(found.opening._replace(offsets=StreamOffsets(1, 1, 1))))
    body = begin
    for part in parts(Files(), str(path), "a", BEGINNING):
        if isinstance(part, Append):
            piece, crc = sealed(b"%b\n%b" % (b"\n".join(part.lines), commit_line(part.offsets)), crc)
            body += piece
    path.write_bytes(body)
    return {}


CASES = {
    "zeros": Case(zeros, {"segment_corrupt"}, {"a": 1}),
    "no middle": Case(no_middle, {"segment_missing"}, {"a": 1}),
    "only zeros": Case(only_zeros, {"segment_corrupt"}, {"a": 1}),
    "two of zeros": Case(two_of_zeros, {"segment_corrupt"}, {"a": 2}),
    "first of zeros": Case(first_of_zeros, {"segment_corrupt"}, {"a": 1}),
    "half of the end": Case(half_of_the_end, {"segment_corrupt"}, {"a": 1}),
    "torn": Case(torn, {"segment_torn"}, {}),
    "torn new": Case(torn_new, {"segment_torn"}, {}),
    "torn begun": Case(torn_begun, {"segment_torn"}, {}),
    "torn begun alone": Case(torn_begun_alone, {"segment_torn"}, {}),
    "no opening": Case(no_opening, {"segment_corrupt"}, {}),
    "misnamed": Case(misnamed, {"segment_misnamed"}, {}),
    "copy of another": Case(copy_of_another, {"segment_foreign"}, {}),
    "copy of itself": Case(copy_of_itself, {"segment_foreign"}, {}),
    "copy before all": Case(copy_before_all, {"segment_foreign"}, {}),
    "copy behind all": Case(copy_behind_all, {"segment_foreign"}, {}),
    "newest of ended": Case(newest_of_ended, {"segment_missing"}, {"c": 1}),
    "tail of ended": Case(tail_of_ended, {"segment_corrupt"}, {"c": 1}),
    "oldest of ended": Case(oldest_of_ended, {"record_stale"}, {}),
    "no events": Case(no_events, {"events_missing"}, {"b": 1}),
    "no events of ended": Case(no_events_of_ended, {"events_missing"}, {"c": 1}),
    "view": Case(view, {"view_unreadable"}, {}),
    "ceiling": Case(ceiling, {"ceiling_unreadable"}, {}),
    "no ceiling": Case(no_ceiling, {"ceiling_unreadable"}, {}),
    "runtime.json": Case(runtime_json, {"runtime_json_unreadable"}, {}),
    "no runtime.json": Case(no_runtime_json, {"runtime_json_missing"}, {}),
    "stranger among removed": Case(stranger_among_removed, {"removed_foreign"}, {}),
    "old ceiling": Case(old_ceiling, {"ceiling_low"}, {}),
    "foreign runtime.json": Case(foreign_runtime_json, {"runtime_json_foreign"}, {}),
    "other opening": Case(other_opening, {"opening_mismatch"}, {}),
    "no worker": Case(no_worker, {"worker_missing"}, {}, is_killed=True),
    "torn journal": Case(torn_journal, {"wal_torn"}, {}, is_killed=True),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_broken_is_found_and_mended(name: str, healthy: Built, killed: Built, tmp_path: Path) -> None:
    case = CASES[name]
    built = copied(killed if case.is_killed else healthy, tmp_path / "store")
    lost = case.damage(built)
    before = contents(built.path)
    assert codes(check(built)) == case.codes
    assert contents(built.path) == before, "a check changes nothing"
    done = repaired(built)
    assert codes(done.found) == case.codes
    again = repair(built, FailingFiles())
    assert (again.found.exam.problems, again.moved_to) == ([], None)
    alerts = agree(built, lost)
    assert {log: len(each) for log, each in alerts.items() if each} == case.alerts
    for each in (alert for log in alerts.values() for alert in log):
        assert orjson.loads(each.line)["payload"]["data"]["level"] == "error"


@pytest.mark.parametrize("name", ["only zeros", "no middle", "misnamed", "tail of ended", "torn journal"])
@pytest.mark.parametrize("is_within", [False, True], ids=["before", "within"])
def test_a_repair_that_is_killed_is_gone_on_with(
    name: str, is_within: bool, healthy: Built, killed: Built, tmp_path: Path
) -> None:
    case = CASES[name]
    step = 0
    while True:
        step += 1
        built = copied(killed if case.is_killed else healthy, tmp_path / "store")
        lost = case.damage(built)
        before = {digest for _, digest in contents(built.path)}
        files = Killed(step, is_within=is_within)
        with suppress(OSError):
            repair(built, files)
        if files.count < step:
            break
        repaired(built)
        assert before <= {digest for _, digest in contents(built.path)}
        if step % 6 == 0:
            alerts = agree(built, lost)
            assert {log: len(each) for log, each in alerts.items() if each} == case.alerts
    assert step > 5


class Killed(Files):
    """Dies at one step of those that change something, in the middle of it if that is a write."""

    def __init__(self, at: int, *, is_within: bool) -> None:
        self.count = 0
        for name in ("pwrite", "rename", "mkdir", "fsync", "fdatasync", "truncate"):
            setattr(self, name, self._step(name, getattr(Files, name), at, is_within=is_within))

    def _step(self, name: str, act: Callable[..., Any], at: int, *, is_within: bool) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            self.count += 1
            if self.count < at:
                return None if "sync" in name else act(*args)
            if self.count == at and is_within and name == "pwrite":
                fd, data, offset = args
                os.pwrite(fd, data[: len(data) // 2], offset)
            raise OSError(errno.EIO, "killed")

        return step


def test_a_segment_that_was_just_begun_is_no_problem(healthy: Built, tmp_path: Path) -> None:
    built = copied(healthy, tmp_path / "store")
    fresh = begun(built, b"")
    assert check(built).exam.problems == []
    for path in events_of(built, "b"):
        if path != fresh:
            path.unlink()
    assert check(built).exam.problems == []


def test_a_worker_without_a_record_goes_aside_whole_and_others_stay(healthy: Built, tmp_path: Path) -> None:
    built = copied(healthy, tmp_path / "store")
    flip(built.path / "workers" / "a" / "worker.json", 60, 2)
    assert codes(check(built)) == {"record_unreadable"}
    done = repaired(built)
    assert done.moved_to is not None
    assert (Path(done.moved_to) / "workers" / "a" / "events").is_dir()
    assert sorted(path.name for path in (built.path / "workers").iterdir()) == ["b", "c"]
    agree(built, {})


def test_a_worker_of_another_name_goes_aside_whole(healthy: Built, tmp_path: Path) -> None:
    built = copied(healthy, tmp_path / "store")
    shutil.copytree(built.path / "workers" / "a", built.path / "workers" / "a2")
    assert codes(check(built)) == {"record_foreign"}
    repaired(built)
    agree(built, {})


def test_a_record_is_written_again_from_the_write_ahead_file(killed: Built, tmp_path: Path) -> None:
    built = copied(killed, tmp_path / "store")
    [journal] = built.path.glob("journal/*.jsonl")
    directory = str(built.path / "workers" / "a")
    kept = read_record(Files(), directory)
    assert kept is not None
    assert kept.encoded() in journal.read_bytes()
    flip(built.path / "workers" / "a" / "worker.json", 60, 2)
    assert codes(check(built)) == {"record_unreadable"}
    repaired(built)
    assert read_record(Files(), directory) == kept
    agree(built, {})


def test_a_damaged_write_ahead_file_is_told_to_those_whose_events_it_had(
    killed: Built, tmp_path: Path
) -> None:
    [journal] = killed.path.glob("journal/*.jsonl")
    last = {name: killed.appends[name][-1] for name in ("a", "b", "runtime")}
    rounds = [span for span in appended_spans(journal) if span[2]]
    for name, records in last.items():
        [(begin, end, _)] = [span for span in rounds if records[0].seq in span[2]]
        for offset in range(begin, end, 31):
            built = copied(killed, tmp_path / "store")
            [path] = built.path.glob("journal/*.jsonl")
            flip(path, offset, offset % 8)
            found = check(built)
            assert codes(found) == {"wal_corrupt"}
            [told] = found.exam.problems
            assert (told.path, told.offset is not None and told.offset <= offset) == (str(path), True)
            repaired(built)
            if offset % 5 == 0:
                read, findings = read_back(built)
                assert list(findings) == []
                others = {each for each in last if each != name}
                for each in others:
                    assert [one for one in read[each] if not is_alert(one)] == all_records(built, each)
                is_lost = records[0] not in read[name]
                assert any(is_alert(one) for one in read[name]) or not is_lost


def test_a_newer_schema_is_left_alone(healthy: Built, tmp_path: Path) -> None:
    built = copied(healthy, tmp_path / "store")
    path = built.path / "runtime.json"
    path.write_bytes(path.read_bytes().replace(b'"schema":1', b'"schema":2'))
    before = contents(built.path)
    done = repair(built, FailingFiles())
    assert codes(done.left) == {"schema_newer"}
    assert contents(built.path) == before


def test_what_cannot_be_read_is_told_and_stops_nobody_else(healthy: Built, tmp_path: Path) -> None:
    built = copied(healthy, tmp_path / "store")
    path = events_of(built, "a")[1]
    path.unlink()
    path.mkdir()
    zeros(built)
    found = check(built)
    assert "unreadable" in codes(found)
    flip(events_of(built, "b")[0], 300, 0)
    assert "segment_corrupt" in codes(check(built))


def test_a_repair_is_refused_while_somebody_has_the_store_open(healthy: Built, tmp_path: Path) -> None:
    built = copied(healthy, tmp_path / "store")
    zeros(built)
    lock = DirectoryLock(Layout(built.path), CLOCK())
    try:
        found = check(built)
        assert found.holder is not None
        assert codes(found) == {"segment_corrupt"}
        with pytest.raises(StoreUnusable, match="in use by process"):
            repair(built)
    finally:
        lock.release()
    assert check(built).holder is None
