"""What is in an archive, in which order, and which links stay inside."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import ArchiveInvalid
from watchglass.runtime.archive.members import Order, place_of, stays_inside
from watchglass.runtime.archive.tar import Header, Kind

WHOLE = [
    "format.json",
    "worker.json",
    "events.jsonl",
    "view.json",
    "stdout.log",
    "stderr.log",
    "output.idx",
    "workspace/",
    "workspace/-",
    "workspace/a/",
    "workspace/a/b",
    "workspace/a-",
    "workspace/é",
    "left-out.jsonl",
    "SHA256SUMS",
]


def check(*names: str) -> None:
    order = Order()
    for name in names:
        order.check(Header(name=name.rstrip("/"), kind=Kind.FOLDER if name.endswith("/") else Kind.FILE))
    order.finish()


def test_a_whole_archive_is_in_order_and_so_is_one_without_what_may_be_missing() -> None:
    check(*WHOLE)
    check("format.json", "worker.json", "events.jsonl", "left-out.jsonl", "SHA256SUMS")


@pytest.mark.parametrize(
    "name", ["format.json", "worker.json", "events.jsonl", "left-out.jsonl", "SHA256SUMS"]
)
def test_a_missing_member_is_named(name: str) -> None:
    with pytest.raises(ArchiveInvalid, match=rf"'{name}' of the archive: is missing"):
        check(*(each for each in WHOLE if each != name))


@pytest.mark.parametrize("place", range(len(WHOLE) - 1))
def test_members_that_change_their_places_are_refused(place: int) -> None:
    swapped = [*WHOLE[:place], WHOLE[place + 1], WHOLE[place], *WHOLE[place + 2 :]]
    with pytest.raises(ArchiveInvalid, match=r"comes too late|is missing"):
        check(*swapped)


@pytest.mark.parametrize("name", WHOLE)
def test_a_member_that_is_there_twice_is_refused(name: str) -> None:
    place = WHOLE.index(name)
    with pytest.raises(ArchiveInvalid, match="is there twice"):
        check(*WHOLE[: place + 1], *WHOLE[place:])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/etc/passwd", "leads out of the worker's folder"),
        ("../w2/worker.json", "leads out"),
        ("workspace/../worker.json", "leads out"),
        ("workspace/a/../../../x", "leads out"),
        ("workspace/./a", "is no member"),
        ("workspace//a", "is no member"),
        ("./format.json", "is no member"),
        ("run.json", "is no member"),
        ("worker.json/x", "is no member"),
        ("events/0000000000000001.jsonl", "is no member"),
        ("workspace2/a", "is no member"),
        ("", "leads out"),
        ("workspace/" + "d/" * 200 + "f", "nested deeper than 128"),
        ("workspace/" + "n" * 256, "a name over 255 bytes"),
        ("workspace/" + "é" * 128, "a name over 255 bytes"),
    ],
)
def test_what_has_no_place_is_refused(name: str, says: str) -> None:
    with pytest.raises(ArchiveInvalid) as refused:
        check("format.json", "worker.json", "events.jsonl", name)
    assert says in str(refused.value)


def test_members_are_what_they_must_be() -> None:
    for name, kind in (("format.json", Kind.LINK), ("format.json", Kind.FOLDER)):
        with pytest.raises(ArchiveInvalid, match="where a regular file belongs"):
            Order().check(Header(name=name, kind=kind))
    order = Order()
    for name in ("format.json", "worker.json", "events.jsonl"):
        order.check(Header(name=name))
    with pytest.raises(ArchiveInvalid, match="where a folder belongs"):
        order.check(Header(name="workspace", kind=Kind.LINK, target="/etc"))


@pytest.mark.parametrize("name", ["format.json", "worker.json"])
def test_a_document_that_would_fill_the_memory_is_refused(name: str) -> None:
    order = Order()
    if name != "format.json":
        order.check(Header(name="format.json"))
    with pytest.raises(ArchiveInvalid, match="is the most"):
        order.check(Header(name=name, size_bytes=1 << 30))


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4).map("/".join))
def test_a_name_with_a_place_is_below_the_workspace(name: str) -> None:
    if place_of(f"workspace/{name}") is not None:
        assert os.path.normpath(f"/b/workspace/{name}").startswith("/b/workspace/")


@pytest.mark.parametrize(
    ("folders", "target"),
    [(0, "a"), (0, "a/b"), (1, "../a"), (2, "../../a/b"), (0, "."), (0, "./a"), (3, ".."), (0, "a//b/")],
)
def test_links_that_stay_inside(folders: int, target: str) -> None:
    assert stays_inside(folders, target)


@pytest.mark.parametrize(
    ("folders", "target"),
    [
        (0, "/"),
        (0, "/etc/passwd"),
        (0, ".."),
        (1, "../.."),
        (2, "a/../b"),
        (1, "../a/.."),
        (0, ""),
        (0, "./.."),
    ],
)
def test_links_that_might_leave(folders: int, target: str) -> None:
    assert not stays_inside(folders, target)


parts = st.sampled_from(["a", "b", "..", ".", ""])


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "d/", "d/e/"]), st.lists(parts, min_size=1, max_size=4)), max_size=6
    )
)
def test_no_set_of_links_that_stay_inside_leads_out_together(wanted: list[tuple[str, list[str]]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        workspace = Path(base).resolve() / "workspace"
        (workspace / "d" / "e").mkdir(parents=True)
        for number, (inside, target) in enumerate(wanted):
            text = "/".join(target)
            place = workspace / inside / "ab"[number % 2]
            if stays_inside(inside.count("/"), text) and not place.is_symlink():
                place.symlink_to(text)
        for root, folders, files in os.walk(workspace):
            for name in (*folders, *files):
                try:
                    real = os.path.realpath(Path(root) / name, strict=True)
                except OSError as fault:
                    if fault.errno == errno.ELOOP:
                        continue  # It leads nowhere.
                    real = os.path.realpath(Path(root) / name)
                assert real == str(workspace) or real.startswith(f"{workspace}/")
