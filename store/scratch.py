"""A folder of temporary files that no crash leaves behind for long.

    $TMPDIR/watchglass-<uid>-<random>/   mode 0700
        lock                             held with flock(2) while its owner lives
        workers/<worker_id>/…

The kernel drops the lock with the process, so the next start sees which
folders have no owner and removes them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A fresh folder, locked while the block runs and removed after it."""
    prefix = f"watchglass-{os.getuid()}-"
    _remove_abandoned(Path(tempfile.gettempdir()), prefix)
    root = Path(tempfile.mkdtemp(prefix=prefix))
    lock = os.open(root / "lock.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (root / "lock.new").rename(root / "lock")  # Held before anybody can find it free.
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for root in parent.glob(f"{prefix}*"):
        if _abandoned(root / "lock"):
            shutil.rmtree(root, ignore_errors=True)


def _abandoned(lock_path: Path) -> bool:
    """Whether the folder has a lock that nobody holds; one without a lock is just being made."""
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)
