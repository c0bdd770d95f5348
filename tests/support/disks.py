"""Disks that are small enough to be filled: for root alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """A tmpfs at this place while the block runs; skips the test where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs")
    place.mkdir(parents=True)
    if not _done("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "none", str(place)):
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield place
    finally:
        assert _done("umount", str(place))


def fill(disk: Path) -> Path:
    """Leave no room on a disk; the file that takes it all, for who wants it back."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return hog


def _done(*argv: str) -> bool:
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0
