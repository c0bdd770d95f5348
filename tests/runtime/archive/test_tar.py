"""The tar format: what is written is read, by us and by others; what is hostile is refused by name."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchglass.protocol.errors import ArchiveInvalid
from watchglass.runtime.archive.tar import END, Header, Kind, TarReader, TarWriter, padding

from support.archives import Member, file, folder, link, members_of, packed


class Seen:
    """Members as they come."""

    def __init__(self) -> None:
        self.members: list[tuple[Header, bytes]] = []
        self.is_open = False

    def begin(self, header: Header) -> None:
        assert not self.is_open
        self.is_open = True
        self.members.append((header, b""))

    def content(self, data: bytes) -> None:
        assert self.is_open
        assert data
        header, content = self.members.pop()
        self.members.append((header, content + data))

    def end(self) -> None:
        assert self.is_open
        self.is_open = False


def read(data: bytes, *sizes: int) -> list[tuple[Header, bytes]]:
    """What the reader makes of it, fed in pieces of these sizes, over and over."""
    seen = Seen()
    reader = TarReader(seen)
    at, place = 0, 0
    while at < len(data):
        size = sizes[place % len(sizes)] if sizes else len(data)
        reader.feed(data[at : at + size])
        at, place = at + size, place + 1
    reader.finish()
    return seen.members


def written(headers: list[Header], content: bytes) -> bytes:
    tar = TarWriter()
    pieces = []
    for header in headers:
        own = content[: header.size_bytes]
        pieces += [tar.header(header), own, padding(len(own))]
    return b"".join([*pieces, END])


def stdlib(*infos: tarfile.TarInfo, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return out.getvalue()


def info(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


names = st.binary(min_size=1, max_size=300).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"-")))
headers = st.builds(
    Header,
    name=names,
    kind=st.just(Kind.FILE),
    size_bytes=st.integers(0, 2000),
    mode=st.integers(0, 0o777),
    modified_us=st.integers(0, 1 << 52),
)
links = st.builds(Header, name=names, kind=st.just(Kind.LINK), mode=st.just(0o777), target=names)


@given(st.lists(headers | links, max_size=5), st.lists(st.integers(1, 1500), min_size=1, max_size=4))
def test_what_is_written_is_read_in_pieces_of_any_size(wanted: list[Header], sizes: list[int]) -> None:
    content = os.urandom(2000)
    data = written(wanted, content)
    assert read(data, *sizes) == [(header, content[: header.size_bytes]) for header in wanted]


@given(st.lists(headers, max_size=3))
def test_what_is_written_is_read_by_others(wanted: list[Header]) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(wanted, b"y" * 2000)), errors="surrogateescape") as tar:
        found = [(each.name, each.size, each.mode, round(each.mtime * 1e6)) for each in tar]
    told = [(each.name.rstrip("/") or each.name, each.size_bytes, each.mode) for each in wanted]
    assert [each[:2] for each in found] == [(name or "", size) for name, size, _ in told] or "/" in str(told)
    assert [each[2] for each in found] == [mode for _, _, mode in told]
    for (*_, seen_us), header in zip(found, wanted, strict=True):
        assert abs(seen_us - header.modified_us) < 10


def test_the_headers_digest_is_the_same_on_both_sides() -> None:
    tar = TarWriter()
    data = b"".join([tar.header(Header(name="é" * 200, modified_us=1_500_000)), END])
    reader = TarReader(Seen())
    reader.feed(data)
    assert reader.headers.digest() == tar.headers.digest()


def test_a_pax_tar_that_others_wrote_is_read() -> None:
    data = stdlib(info("a" * 120, size=700), info("f", type=tarfile.DIRTYPE, mode=0o755))
    (first, content), (second, _) = read(data, 100)
    assert (first.name, first.size_bytes, content) == ("a" * 120, 700, b"x" * 700)
    assert (second.name, second.kind, second.mode) == ("f", Kind.FOLDER, 0o755)


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (info("l", type=tarfile.LNKTYPE, linkname="worker.json"), "'l' of the archive: is a hard link"),
        (info("d", type=tarfile.CHRTYPE), "'d' of the archive: is a device"),
        (info("d", type=tarfile.BLKTYPE), "is a device"),
        (info("p", type=tarfile.FIFOTYPE), "is a named pipe"),
        (info("g", type=tarfile.XGLTYPE), "is a header for all members"),
        (info("c", type=tarfile.CONTTYPE), "is of type b'7'"),
        (info("s", pax_headers={"GNU.sparse.major": "1"}), "is a sparse file"),
        (info("s", pax_headers={"size": "-1"}), "has a size that is no number"),
        (info("s", pax_headers={"size": "9" * 18}), "has a size of 9999"),
        (info("s", pax_headers={"mtime": "soon"}), "no number"),
        (info("s", pax_headers={"mtime": "9999999999999"}), "which is no time"),
        (info("big", pax_headers={"comment": "x" * 70_000}), "a pax header of 700"),
    ],
)
def test_what_no_archive_has_is_refused_by_name(info: tarfile.TarInfo, says: str) -> None:
    with pytest.raises(ArchiveInvalid) as refused:
        read(stdlib(info))
    assert says in str(refused.value)


def test_other_kinds_of_tar_are_refused_at_their_first_byte() -> None:
    for data in (
        stdlib(info("x" * 200), tar_format=tarfile.GNU_FORMAT),
        b"\x1f\x8b" + bytes(510),
        b"PK" + bytes(600),
    ):
        with pytest.raises(
            ArchiveInvalid, match="byte 0 begins no header of a tar: what 'watchglass export'"
        ):
            read(data)


def test_a_header_of_pax_alone_is_refused() -> None:
    data = TarWriter().header(Header(name="é" * 200))
    with pytest.raises(ArchiveInvalid, match="before the end"):
        read(data[:-512] + END)
    with pytest.raises(ArchiveInvalid, match="or a second one"):
        read(data[:-512] + data + END)


GOOD = packed(
    members_of(
        "w",
        folder("workspace"),
        file("workspace/é", b"x" * 700, modified_us=1_500_001),
        link("workspace/l", "é"),
    )
)


@pytest.mark.parametrize("end", [*range(0, len(GOOD) - 512, 256), len(GOOD) - 1])
def test_a_tar_that_is_cut_anywhere_is_not_complete(end: int) -> None:
    with pytest.raises(ArchiveInvalid, match="cut off"):
        read(GOOD[:end])


def test_nothing_but_zeros_may_follow_the_end() -> None:
    assert read(GOOD + bytes(5120)) == read(GOOD)
    with pytest.raises(ArchiveInvalid, match="something follows its end"):
        read(GOOD + b"x")


def test_padding_is_zeros() -> None:
    data = packed([Member(Header(name="f"), b"x")])
    with pytest.raises(ArchiveInvalid, match="between two members"):
        read(data[:600] + b"!" + data[601:])


@settings(max_examples=300)
@given(st.data())
def test_whatever_comes_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    hostile = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(hostile) - 1))
        hostile[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    with suppress(ArchiveInvalid):
        read(bytes(hostile), data.draw(st.integers(1, 2000)))


@given(st.binary(max_size=3000))
def test_noise_is_refused(noise: bytes) -> None:
    if noise.strip(b"\0"):
        with pytest.raises(ArchiveInvalid):
            read(noise)
