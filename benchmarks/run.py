"""Run the benchmarks: `python benchmarks/run.py`.

Each compares watchglass with something barer in the same run, repetition by
repetition, and reports medians. `docs/performance.md` says what is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cases import CASES
from disk import file_system, lies_about_durability, scratch
from report import Case, Row, Scale, block, machine, table, with_block

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when everything that was asked for has run."""
    told = _parser().parse_args(argv)
    chosen = [case for case in CASES if not told.only or case.name in told.only]
    load = os.getloadavg()[0]
    disk = file_system(told.dir)
    if lies_about_durability(told.dir):
        print(f"{told.dir} is on {disk}: what is durable there costs nothing, and is not", file=sys.stderr)
    scale = Scale(smoke=told.smoke, repetitions=1 if told.smoke else told.repetitions, directory=told.dir)
    signal.signal(signal.SIGTERM, _leave)
    sections = {case.about: _run(case, scale) for case in chosen}
    if told.json:
        print(
            json.dumps({about: [dataclasses.asdict(row) for row in rows] for about, rows in sections.items()})
        )
    else:
        print(f"{machine()}, {disk}\n\n{table(sections)}")
    if told.write is not None:
        page = told.write.read_text()
        told.write.write_text(with_block(page, block(sections, _commit(), scale.repetitions, load, disk)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Run the benchmarks.")
    names = [case.name for case in CASES]
    parser.add_argument("--only", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--smoke", action="store_true", help="a bounded run that only sees that each works")
    parser.add_argument("--repetitions", type=int, default=3, help="interleaved, for the medians (3)")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path.cwd(),
        help="where files are written whose writing is measured (here)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the table of this page")
    return parser


def _run(case: Case, scale: Scale) -> list[Row]:
    began = time.monotonic()
    print(f"{case.name} …", end="", file=sys.stderr, flush=True)
    with scratch(scale.directory) as directory:
        rows = case.run(dataclasses.replace(scale, directory=directory))
    print(f" {time.monotonic() - began:.1f} s", file=sys.stderr)
    return rows


def _leave(number: int, _frame: object) -> NoReturn:
    """Unwind, so that what was started ends."""
    sys.exit(128 + number)


def _commit() -> str:
    """The commit that was measured, with a mark when the tree has changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
