"""A scratch folder goes with its owner, or at the next start after a crash."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from watchglass.store.scratch import scratch_directory

OWNER = """
import sys
from watchglass.store.scratch import scratch_directory
with scratch_directory() as root:
    (root / "workers").mkdir()
    (root / "workers" / "output").write_text("x")
    print(root, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def another_owner(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds a scratch folder until its stdin ends or it is killed."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as owner:
        assert owner.stdout is not None
        try:
            yield owner, Path(owner.stdout.readline().strip())
        finally:
            owner.kill()


def test_a_scratch_folder_is_private_and_gone_after_its_block() -> None:
    with scratch_directory() as root:
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        (root / "file").write_text("x")
    assert not root.exists()


def test_two_blocks_have_two_folders() -> None:
    with scratch_directory() as one, scratch_directory() as other:
        assert one != other
        assert one.is_dir()


def test_a_folder_whose_owner_lives_is_kept(temporary: Path) -> None:
    with another_owner(temporary) as (_owner, root), scratch_directory():
        assert (root / "workers" / "output").read_text() == "x"


def test_a_folder_whose_owner_was_killed_is_removed_at_the_next_start(temporary: Path) -> None:
    with another_owner(temporary) as (owner, root):
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert (root / "workers" / "output").exists()
        with scratch_directory():
            assert not root.exists()


def test_a_folder_that_is_just_being_made_is_left_alone(temporary: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f"watchglass-{os.getuid()}-"))
    with scratch_directory():
        assert fresh.is_dir()


def test_what_is_not_ours_is_left_alone(temporary: Path) -> None:
    (temporary / f"watchglass-{os.getuid()}-file").write_text("x")
    foreign = temporary / "watchglass-other"
    foreign.mkdir()
    (foreign / "lock").touch()
    linked = temporary / f"watchglass-{os.getuid()}-link"
    linked.mkdir()
    (linked / "lock").symlink_to(foreign / "lock")
    with scratch_directory():
        assert (foreign / "lock").exists()
        assert (linked / "lock").is_symlink()
    assert (temporary / f"watchglass-{os.getuid()}-file").exists()
