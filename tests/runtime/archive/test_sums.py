"""Checksums: written as `sha256sum` reads them, and every difference names its member."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from watchglass.protocol.errors import ArchiveInvalid, printable
from watchglass.runtime.archive.spool import IN_MEMORY_BYTES_MAX, Spool
from watchglass.runtime.archive.sums import SumsCheck, headers_line, sum_line

NAMES = [
    "worker.json",
    "workspace/a\nb",
    "workspace/a b",
    "workspace/b\\n",
    "workspace/c\r",
    "workspace/\udcff",
]
HEADERS = "0" * 64


def lines_of(*names: str, changed: str = "") -> list[bytes]:
    digests = {name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest() for name in names}
    return [sum_line(name, digests[name] if name != changed else "f" * 64) for name in names]


def compare(own: list[bytes], said: bytes, piece_bytes: int = 1000) -> None:
    spool = Spool()
    try:
        for line in own:
            spool.write(line)
        check = SumsCheck(HEADERS, spool)
        for start in range(0, len(said), piece_bytes):
            check.write(said[start : start + piece_bytes])
        check.finish()
    finally:
        spool.close()


@pytest.mark.parametrize("piece_bytes", [1, 10, 1000])
def test_the_same_lines_are_the_same(piece_bytes: int) -> None:
    own = lines_of(*NAMES)
    compare(own, headers_line(HEADERS) + b"".join(own), piece_bytes)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_another_sum_names_its_member(name: str) -> None:
    with pytest.raises(
        ArchiveInvalid, match=r"has the SHA-256 [0-9a-e].*, and SHA256SUMS says ffff"
    ) as refused:
        compare(lines_of(*NAMES), headers_line(HEADERS) + b"".join(lines_of(*NAMES, changed=name)))
    assert refused.value.member == printable(name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_member_that_is_listed_and_not_there_is_missing(name: str) -> None:
    left = [each for each in NAMES if each != name]
    with pytest.raises(ArchiveInvalid, match="is missing; SHA256SUMS lists it") as refused:
        compare(lines_of(*left), headers_line(HEADERS) + b"".join(lines_of(*NAMES)))
    assert refused.value.member == printable(name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_member_that_is_not_listed_is_named(name: str) -> None:
    left = [each for each in NAMES if each != name]
    with pytest.raises(ArchiveInvalid, match="is not listed in SHA256SUMS") as refused:
        compare(lines_of(*NAMES), headers_line(HEADERS) + b"".join(lines_of(*left)))
    assert refused.value.member == printable(name)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (b"", "is not listed"),
        (headers_line("1" * 64), "a header was changed"),
        (b"".join(lines_of("worker.json")), "a header was changed"),
        (headers_line(HEADERS) + b"nonsense\n", "a line that is no checksum"),
        (headers_line(HEADERS) + b"a" * 64, "ends within a line"),
        (b"x" * 100_000, "a line over"),
    ],
)
def test_what_is_no_list_is_refused(said: bytes, says: str) -> None:
    with pytest.raises(ArchiveInvalid, match=says):
        compare(lines_of("worker.json"), said)


def test_sha256sum_reads_them(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + os.fsencode(name))).write_bytes(os.fsencode(name))
    (tmp_path / "SHA256SUMS").write_bytes(headers_line(HEADERS) + b"".join(lines_of(*NAMES)))
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"OK") == len(NAMES)


def test_many_lines_are_kept_on_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    piece = b"x" * 100_000 + b"\n"
    for _ in range(30):
        spool.write(piece)
    assert spool.size_bytes == 30 * len(piece) > IN_MEMORY_BYTES_MAX
    assert b"".join(spool.pieces()) == piece * 30
    spool.rewind()
    assert spool.read_line() == piece
    spool.close()
    assert list(tmp_path.iterdir()) == []
