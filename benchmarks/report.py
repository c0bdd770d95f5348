"""What a benchmark says: rows of a table, and how they are printed.

Pure, apart from `machine()`, which reads what the numbers were measured on.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

BEGIN = "<!-- begin: benchmarks/run.py -->"
END = "<!-- end: benchmarks/run.py -->"
TIMES = " \N{MULTIPLICATION SIGN}"

Measured = Mapping[str, float]
"""One repetition of one way: a few numbers by name."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to do: enough to measure, or just enough to see that it works.

    Files whose writing is measured are made under `directory`.
    """

    smoke: bool = False
    repetitions: int = 3
    directory: Path = field(default_factory=Path.cwd)

    def of(self, full: int, smoke: int) -> int:
        """One size or the other."""
        return smoke if self.smoke else full


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the repetitions, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def over(cls, numbers: Sequence[float]) -> Spread:
        """Of at least one number."""
        return cls(statistics.median(numbers), min(numbers), max(numbers))


@dataclass(frozen=True, slots=True)
class Target:
    """What we want: at least, or at most, this, or this many times the reference."""

    bound: Literal["≥", "≤"]
    value: float
    of_reference: bool = False

    def met(self, value: float) -> bool:
        """Whether a number is on the right side."""
        return value >= self.value if self.bound == "≥" else value <= self.value


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `reference` is the same thing done as barely as can be, in the same run."""

    what: str
    unit: str
    ours: Spread
    reference: Spread | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the reference; None without one."""
        if self.reference is None or self.reference.median == 0:
            return None
        return self.ours.median / self.reference.median

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        reached = self.ratio if self.target.of_reference else self.ours.median
        assert reached is not None, "a target in times the reference needs one"
        return self.target.met(reached)


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark. `run` may raise; then it measured nothing."""

    name: str
    about: str
    run: Callable[[Scale], list[Row]]


def interleaved(repetitions: int, ways: Mapping[str, Callable[[], Measured]]) -> dict[str, dict[str, Spread]]:
    """Each way once, then each again: a slow minute of the machine hits all of them."""
    seen: dict[str, list[Measured]] = {way: [] for way in ways}
    for _ in range(repetitions):
        for way, measure in ways.items():
            seen[way].append(measure())
    return {
        way: {name: Spread.over([measured[name] for measured in all_measured]) for name in all_measured[0]}
        for way, all_measured in seen.items()
    }


def percentile(numbers: Sequence[float], percent: float) -> float:
    """The smallest number that `percent` of all are not above."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def latencies(seconds: Sequence[float]) -> Measured:
    """p50, p99 and the longest, in milliseconds."""
    return {
        "p50": 1000 * percentile(seconds, 50),
        "p99": 1000 * percentile(seconds, 99),
        "max": 1000 * max(seconds),
    }


def machine() -> str:
    """What the numbers belong to, in one line."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{_cpu_model()}, {cores} cores, {memory_gib:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def table(sections: Mapping[str, Sequence[Row]]) -> str:
    """Markdown, one section a benchmark."""
    lines = ["| what | watchglass | reference | ratio | target |", "|---|---|---|---|---|"]
    for about, rows in sections.items():
        lines.append(f"| **{about}** | | | | |")
        lines += [_line(row) for row in rows]
    return "\n".join(lines)


def with_block(text: str, block: str) -> str:
    """A page whose block between the two markers is replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no block between {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def block(
    sections: Mapping[str, Sequence[Row]], commit: str, repetitions: int, load: float, disk: str
) -> str:
    """The generated part of the page."""
    today = date.today().isoformat()  # noqa: DTZ011 - where the machine is.
    return (
        f"Measured {today} at commit {commit} on {machine()}, {disk}; load average {load:.1f} at the start. "
        f"Medians of {repetitions}, with the lowest and the highest.\n\n{table(sections)}"
    )


def _line(row: Row) -> str:
    target = ""
    if row.target is not None:
        times = TIMES if row.target.of_reference else ""
        target = f"{row.target.bound} {row.target.value:,g}{times}" + ("" if row.met else " (missed)")
    reference = "" if row.reference is None else _cell(row.reference)
    ratio = "" if row.ratio is None else f"{_number(row.ratio)}{TIMES}"
    return f"| {row.what}, {row.unit} | {_cell(row.ours)} | {reference} | {ratio} | {target} |"


def _cell(spread: Spread) -> str:
    if spread.low == spread.high:
        return f"**{_number(spread.median)}**"
    return f"**{_number(spread.median)}** ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    """Three digits that matter, with thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = max(0, len(str(int(abs(value)))) - 3)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
