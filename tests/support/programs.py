"""The worker programs of `fixtures/workers`, as command lines."""

from __future__ import annotations

import sys
from pathlib import Path

WORKERS = Path(__file__).parent.parent.parent / "fixtures" / "workers"


def program(name: str, *args: object) -> list[str]:
    """The command that runs `fixtures/workers/<name>.py`."""
    return [sys.executable, "-I", "-S", str(WORKERS / f"{name}.py"), *map(str, args)]
