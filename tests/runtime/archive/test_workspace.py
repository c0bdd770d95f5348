"""A workspace goes out and comes back: the same tree, and nothing outside it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from watchglass.protocol.errors import ArchiveInvalid
from watchglass.protocol.workers import LeftOut
from watchglass.runtime.archive.members import Order
from watchglass.runtime.archive.tar import Header, Kind
from watchglass.runtime.archive.tree import Tree, settle
from watchglass.runtime.archive.workspace import Found, opened, walk


def seen(directory: Path) -> dict[str, Any]:
    """Everything of a tree that an archive keeps."""
    told: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        said = path.lstat()
        name = str(path.relative_to(directory))
        if path.is_symlink():
            told[name] = (str(path.readlink()), said.st_mtime_ns // 1000)
        else:
            content = path.read_bytes() if path.is_file() else None
            told[name] = (content, stat.S_IMODE(said.st_mode), said.st_mtime_ns // 1000)
    return told


def taken(directory: Path) -> tuple[list[tuple[Header, bytes]], list[LeftOut]]:
    members, left_out = [], []
    for found in walk(directory):
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif found.descriptor is None:
            members.append((found.header, b""))
        else:
            with os.fdopen(found.descriptor, "rb") as file:
                members.append((found.header, file.read()))
    return members, left_out


def put(base: Path, members: list[tuple[Header, bytes]]) -> list[str]:
    """Restore; the names of links that were not."""
    tree, left = Tree(str(base)), []
    try:
        for header, content in members:
            if header.kind is Kind.FOLDER:
                tree.folder(header)
            elif header.kind is Kind.LINK:
                if not tree.link(header):
                    left.append(header.name)
            else:
                descriptor = tree.file(header)
                os.write(descriptor, content)
                settle(descriptor, header)
                os.close(descriptor)
        tree.finish()
    finally:
        tree.close()
    return left


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A worker's folder with a workspace of everything."""
    workspace = tmp_path / "there" / "workspace"
    (workspace / "d" / "e").mkdir(parents=True)
    (workspace / "d" / "e" / "f").write_bytes(b"x" * 5000)
    (workspace / "d-").write_text("sorts between")
    (workspace / "empty").touch()
    (workspace / "run").write_text("#!/bin/sh\n")
    (workspace / "run").chmod(0o4755)
    (workspace / "naïve\n").write_text("é")
    Path(os.fsdecode(os.fsencode(workspace) + b"/\xff")).write_text("raw")
    (workspace / "d" / "up").symlink_to("../d/e")
    (workspace / "read-only").mkdir()
    (workspace / "read-only" / "f").write_text("kept")
    (workspace / "read-only" / "f").chmod(0o400)
    (workspace / "read-only").chmod(0o500)
    os.utime(workspace / "d", ns=(10**18, 10**18 + 123_456_789))
    return tmp_path / "there"


def test_a_tree_comes_back_as_it_was(there: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    members, left_out = taken(there)
    assert left_out == []
    assert put(tmp_path / "here", members) == []
    (there / "workspace" / "run").chmod(0o755)  # The bit that makes others powerful is not kept.
    assert seen(tmp_path / "here") == seen(there)


def test_the_walk_is_in_the_order_of_an_archive(there: Path) -> None:
    order = Order()
    for name in ("format.json", "worker.json", "events.jsonl"):
        order.check(Header(name=name))
    members, _ = taken(there)
    for header, _ in members:
        order.check(header)
    assert len(members) == len(list(there.rglob("*")))


def test_what_has_no_content_is_told_of(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = there / "workspace"
    os.mkfifo(workspace / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(workspace)  # For the path of a socket is short.
        listener.bind("socket")
        _, left_out = taken(there)
    assert [(each.name, each.reason) for each in left_out] == [
        ("workspace/pipe", "a named pipe"),
        ("workspace/socket", "a socket"),
    ]


def test_folders_without_end_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "workspace"
    deep.mkdir()
    monkeypatch.chdir(deep)
    for _ in range(140):
        os.mkdir("d")  # noqa: PTH102 - The whole path may be too long for one call.
        monkeypatch.chdir("d")
    members, [left_out] = taken(tmp_path)
    assert left_out.reason == "deeper than 128 folders"
    assert len(members) == 128


def test_no_workspace_is_no_member(tmp_path: Path) -> None:
    assert taken(tmp_path) == ([], [])
    (tmp_path / "workspace").symlink_to("/etc")
    assert taken(tmp_path) == ([], [])


def test_only_a_regular_file_is_opened_as_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link", "none", "."):
        with pytest.raises(OSError, match=r"."):
            opened(tmp_path / name, name)
    (tmp_path / "file").write_text("x")
    found = opened(tmp_path / "file", "stdout.log")
    assert isinstance(found, Found)
    assert found.descriptor is not None
    os.close(found.descriptor)


def folder(name: str) -> tuple[Header, bytes]:
    return Header(name=name, kind=Kind.FOLDER, mode=0o755), b""


def link(name: str, target: str) -> tuple[Header, bytes]:
    return Header(name=name, kind=Kind.LINK, target=target), b""


@pytest.mark.parametrize(
    "members",
    [
        [(Header(name="workspace/f"), b"x")],
        [folder("workspace"), (Header(name="workspace/d/f"), b"x")],
        [folder("workspace"), link("workspace/d", "e"), (Header(name="workspace/d/f"), b"x")],
        [folder("workspace"), link("workspace/d", "/etc"), (Header(name="workspace/d/f"), b"x")],
        [
            folder("workspace"),
            folder("workspace/d"),
            folder("workspace/e"),
            (Header(name="workspace/d/f"), b"x"),
        ],
        [folder("workspace"), (Header(name="workspace/d"), b"x"), folder("workspace/d/e")],
    ],
    ids=lambda members: members[-1][0].name + f"-{len(members)}",
)
def test_nothing_is_made_where_no_folder_was(tmp_path: Path, members: list[tuple[Header, bytes]]) -> None:
    with pytest.raises(ArchiveInvalid, match="comes without the folder"):
        put(tmp_path, members)


def test_a_folder_that_was_swapped_for_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "base").mkdir()
    tree = Tree(str(tmp_path / "base"))
    tree.folder(folder("workspace")[0])
    tree.folder(folder("workspace/d")[0])
    moved = tmp_path / "base" / "workspace" / "d"
    moved.rename(tmp_path / "moved")
    moved.symlink_to(outside)
    os.close(tree.file(Header(name="workspace/d/f")))
    tree.close()
    assert list(outside.iterdir()) == []
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["f"]


def test_links_that_lead_out_are_left(tmp_path: Path) -> None:
    members = [
        folder("workspace"),
        link("workspace/a", "/etc"),
        link("workspace/b", "c"),
        link("workspace/d", ".."),
    ]
    assert put(tmp_path, members) == ["workspace/a", "workspace/d"]
    assert [path.name for path in (tmp_path / "workspace").iterdir()] == ["b"]
