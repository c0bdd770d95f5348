"""An archive that arrives: all of it is checked, and what is hostile is refused with the member's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.protocol.errors import ArchiveInvalid, StoreIo
from watchglass.protocol.lifecycle import Phase
from watchglass.runtime.archive.intake import Arrived, Intake
from watchglass.runtime.archive.sinks import LEFT_OUT_SHOWN_MAX
from watchglass.runtime.archive.sums import sum_line

from support.archives import (
    FIRST,
    NOW_US,
    Member,
    ended_record,
    file,
    folder,
    journal,
    line_of,
    link,
    members_of,
    note_of,
    packed,
    with_member,
    without,
)

TREE = (
    file("stdout.log", b"said\n"),
    folder("workspace"),
    folder("workspace/d"),
    file("workspace/d/f", b"x" * 700),
    link("workspace/l", "d/f"),
)


def take(folder: Path, data: bytes, piece_bytes: int = 1 << 20) -> Arrived:
    folder.mkdir(exist_ok=True)
    with closing(Intake(folder, NOW_US)) as intake:
        for start in range(0, len(data), piece_bytes):
            intake.feed(data[start : start + piece_bytes])
        return intake.finish()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("piece_bytes", [1, 511, 1000, 1 << 20])
def test_all_of_it_is_there_in_pieces_of_any_size(tmp_path: Path, piece_bytes: int) -> None:
    arrived = take(tmp_path / "in", packed(members_of("w", *TREE)), piece_bytes)
    assert arrived.record == ended_record()
    assert [(record.seq, record.line) for record in arrived.records()] == [
        (Seq(FIRST + place), line_of(place)) for place in range(3)
    ]
    assert (arrived.trimmed_through, arrived.view) == (0, None)
    assert arrived.files.joinpath("stdout.log").read_bytes() == b"said\n"
    assert arrived.files.joinpath("workspace", "l").read_bytes() == b"x" * 700
    assert arrived.omissions.count == 0


def test_what_it_is_about_is_known_from_its_first_member(tmp_path: Path) -> None:
    data = packed(members_of("mine"))
    (tmp_path / "in").mkdir()
    with closing(Intake(tmp_path / "in", NOW_US)) as intake:
        intake.feed(data[:512])
        assert intake.note is None
        intake.feed(data[512:1024])
        note = intake.note
        assert getattr(note, "worker_id", None) == "mine"


def test_what_was_left_out_is_told_and_so_is_what_is_left_out_here(tmp_path: Path) -> None:
    said = orjson.dumps({"name": "workspace/s", "reason": "a socket"}) + b"\n"
    members = members_of("w", folder("workspace"), link("workspace/out", "/etc"))
    arrived = take(tmp_path / "in", packed(with_member(members, "left-out.jsonl", said * 200)))
    assert arrived.omissions.count == 201
    assert len(arrived.omissions.first) == LEFT_OUT_SHOWN_MAX
    assert [each.name for each in arrived.omissions.first[:2]] == ["workspace/out", "workspace/s"]
    assert list((arrived.files / "workspace").iterdir()) == []


def test_what_is_left_out_is_told_of_by_a_name_that_every_answer_can_have(tmp_path: Path) -> None:
    members = members_of("w", folder("workspace"), link("workspace/\udcff", "/etc"))
    (told,) = take(tmp_path / "in", packed(members)).omissions.first
    assert orjson.loads(told.model_dump_json())["name"] == "workspace/\\xff"


Change = Callable[[list[Member]], Sequence[Member]]


def content(name: str, data: bytes) -> Change:
    return lambda members: with_member(members, name, data)


def record(**changed: Any) -> Change:
    return content("worker.json", ended_record(**changed).model_dump_json().encode())


def added(*more: Member) -> Change:
    return lambda members: [*members[:-1], *more, members[-1]]


RUNNING = ended_record().end
assert RUNNING is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: [], "'SHA256SUMS' of the archive: is the first, where format.json belongs"),
        (
            lambda members: members[1:],
            "'worker.json' of the archive: is the first, where format.json belongs",
        ),
        (lambda members: without(members, "worker.json"), "'worker.json' of the archive: is missing"),
        (lambda members: without(members, "events.jsonl"), "'events.jsonl' of the archive: is missing"),
        (lambda members: without(members, "left-out.jsonl"), "'left-out.jsonl' of the archive: is missing"),
        (content("format.json", b"{"), "'format.json' of the archive: does not say which format"),
        (content("format.json", b"[]"), "does not say which format"),
        (content("format.json", note_of(format=2, version="9.0")), "says format 2, and 1 is the newest"),
        (
            content("format.json", note_of(format=2, version="9.0")),
            "use the version of watchglass that wrote it (9.0)",
        ),
        (content("format.json", note_of(format=0)), "format: input should be 1"),
        (content("format.json", note_of(format="1")), "format: input should be 1"),
        (content("format.json", note_of(worker_id="../x")), "worker_id: may have letters"),
        (content("format.json", note_of(trimmed_through=-1)), "trimmed_through"),
        (content("format.json", note_of(worker_id="v")), "is of worker 'w', and format.json says 'v'"),
        (content("worker.json", b"{"), "'worker.json' of the archive: is not JSON"),
        (content("worker.json", b"{}"), "'worker.json' of the archive: worker_id: field required"),
        (record(end=None), "says that worker 'w' has not ended"),
        (record(end=RUNNING.model_copy(update={"phase": Phase.RUNNING})), "has not ended"),
        (record(created_us=-1), "has a time that no clock shows"),
        (record(created_us=1 << 60), "has a time that no clock shows"),
        (content("events.jsonl", b""), "'events.jsonl' of the archive: has no event"),
        (content("events.jsonl", journal(line_of(0), line_of(1, "v"))), "line 2 is an event of worker 'v'"),
        (content("events.jsonl", journal(line_of(1), line_of(0))), "line 2 has the cursor"),
        (content("events.jsonl", journal(b"{}")), "line 1 is no envelope"),
        (content("left-out.jsonl", b"x\n"), "'left-out.jsonl' of the archive: has a line that names nothing"),
        (content("left-out.jsonl", b"{}"), "has no newline at its end"),
        (added(file("workspace/f")), "comes without the folder"),
        (added(file("../../escape")), "leads out of the worker's folder"),
        (added(folder("workspace"), file("workspace/../../../escape")), "leads out of the worker's folder"),
        (
            added(folder("workspace"), link("workspace/d", ".."), file("workspace/d/x")),
            "comes without the folder",
        ),
        (added(link("workspace", "/tmp")), "where a folder belongs"),
        (added(folder("workspace"), link("workspace/l", "x/" * 2048)), "4095 bytes"),
        (added(link("stderr.log", "/etc/passwd")), "where a regular file belongs"),
        (added(file("ctl.sock")), "is no member of an archive"),
        (added(file("worker.json")), "comes too late"),
    ],
)
def test_what_is_hostile_is_refused_with_its_member(tmp_path: Path, change: Change, says: str) -> None:
    with pytest.raises(ArchiveInvalid) as refused:
        take(tmp_path / "in", packed(change(members_of("w", *TREE[:1]))))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("sums", "says"),
    [
        (b"", "'format.json' of the archive: is not listed in SHA256SUMS"),
        (sum_line("format.json", "0" * 64), "'format.json' of the archive: has the SHA-256"),
        (sum_line("gone", "0" * 64), "'gone' of the archive: is missing"),
    ],
)
def test_checksums_that_are_wrong_name_the_member(tmp_path: Path, sums: bytes, says: str) -> None:
    with pytest.raises(ArchiveInvalid) as refused:
        take(tmp_path / "in", packed(members_of(), sums=sums))
    assert says in str(refused.value)


def test_checksums_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match="'SHA256SUMS' of the archive: is missing"):
        take(tmp_path / "in", packed(members_of(), has_sums=False))


def test_nothing_comes_after_the_checksums(tmp_path: Path) -> None:
    data = packed(members_of())
    with pytest.raises(ArchiveInvalid, match="comes too late"):
        take(tmp_path / "in", data[:-1024] + packed([file("events.jsonl")], has_sums=False))


GOOD = packed(members_of("w", *TREE))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(at=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_any_bit_that_flips_is_noticed(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] ^= 1 << bit
    with pytest.raises(ArchiveInvalid):
        take(tmp_path_factory.mktemp("in"), bytes(damaged))


names = st.lists(st.sampled_from(["..", ".", "", "a", "b", "workspace", "etc"]), min_size=1, max_size=4)
hostile = st.builds(
    lambda parts, below, kind, target: {
        "file": file(("workspace/" if below else "") + "/".join(parts), b"!"),
        "folder": folder(("workspace/" if below else "") + "/".join(parts)),
        "link": link(("workspace/" if below else "") + "/".join(parts), "/".join(target)),
    }[kind],
    names,
    st.booleans(),
    st.sampled_from(["file", "folder", "link"]),
    names,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(more=st.lists(hostile, max_size=5))
def test_no_members_whatever_write_outside(
    tmp_path_factory: pytest.TempPathFactory, more: list[Member]
) -> None:
    base = tmp_path_factory.mktemp("base")
    (base / "etc").mkdir()
    ordered = [folder("workspace"), *sorted(more, key=lambda each: os.fsencode(each.header.name).split(b"/"))]
    try:
        arrived = take(base / "in", packed(members_of("w", *ordered)))
    except ArchiveInvalid:
        pass
    else:
        assert names_in(arrived.files) == {"workspace"}
    assert names_in(base) == {"etc", "in"}
    assert list((base / "etc").iterdir()) == []
    assert names_in(base / "in") <= {"files", "events.jsonl"}


def test_a_disk_that_refuses_is_the_store_s_fault(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with closing(Intake(tmp_path / "in", NOW_US)) as intake:
        (tmp_path / "in" / "files" / "stdout.log").write_text("in the way")
        with pytest.raises(StoreIo, match=r"stdout\.log: File exists"):
            intake.feed(GOOD)
