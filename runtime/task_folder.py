"""The files that a task has beside every worker's, in the worker's own folder.

    request.json    what was submitted, with every default in its place and no
                    value of its environment; there from its acceptance on
    result.json     the final status answer; there once its journal has its end

Each appears whole or not at all, and says nothing that the store does not know:
one that is missing or empty, as after a loss of power, is written again when the
runtime starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from watchglass.protocol.base import Wire
from watchglass.store.filesystem.files import Files

REQUEST: Final = "request.json"
RESULT: Final = "result.json"
_FILES: Final = Files()


def is_there(directory: Path, name: str) -> bool:
    """Whether one of them can be read."""
    try:
        return (directory / name).stat().st_size > 0
    except OSError:
        return False


def content(said: Wire) -> bytes:
    """What a file that says this holds."""
    return said.model_dump_json().encode() + b"\n"


def write(directory: Path, name: str, said: Wire) -> None:
    """Put the whole file there in one step. Raises OSError."""
    _FILES.replace(f"{directory}/{name}", content(said))
