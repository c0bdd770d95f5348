"""How long a user waits for `watchglass ps`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from report import Case, Measured, Row, Scale, Target, interleaved
from serving import TIMEOUT_S, environment, serving, watchglass


def run(scale: Scale) -> list[Row]:
    """With and without a server that it can find, and Python by itself."""
    count = scale.of(11, 2)
    with tempfile.TemporaryDirectory(prefix="watchglass-bench-") as nothing, serving() as server:
        alone, served = environment(Path(nothing)), environment(server.state_dir)
        seen = interleaved(
            scale.repetitions,
            {
                "served": lambda: _runs(watchglass("ps"), served, count),
                "alone": lambda: _runs(watchglass("ps"), alone, count),
                "python": lambda: _runs([sys.executable, "-c", "pass"], served, count),
            },
        )
    python = seen["python"]["s"]
    return [
        Row("`watchglass ps` with a server", "s", seen["served"]["s"], python, Target("≤", 0.25)),
        Row("`watchglass ps` without one", "s", seen["alone"]["s"], python, Target("≤", 0.25)),
    ]


def _runs(argv: Sequence[str], env: Mapping[str, str], count: int) -> Measured:
    taken: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TIMEOUT_S
        )
        taken.append(time.perf_counter() - began)
    return {"s": statistics.median(taken)}


CASE = Case("cli_start", "The command line (bare: `python -c pass`)", run)
