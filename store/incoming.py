"""Folders in which something arrives that may become a worker, or nothing.

    <store>/incoming-<random>/     mode 0700

Nobody looks for a worker there. Its folder is taken out of it in one step, when
it is complete; a kill before that leaves a folder that the next start removes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "incoming-"
_FOLDER_MODE: Final = 0o700


def make_incoming(store: Path) -> Path:
    """A fresh folder on the store's own disk, which its maker removes. Raises OSError."""
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=store))


def remove_incoming(store: Path) -> None:
    """Remove what was arriving when an earlier process was killed. For whoever holds the store's lock."""
    for folder in store.glob(f"{PREFIX}*"):
        remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder, and folders in it that may not be written; what resists is left."""
    for path, names, _files in os.walk(folder):
        for found in (Path(path) / name for name in names):
            with suppress(OSError):
                if not found.is_symlink():
                    found.chmod(_FOLDER_MODE)
    shutil.rmtree(folder, ignore_errors=True)
