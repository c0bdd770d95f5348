"""How a worker ended: what its supervisor reported, or that nobody could."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .host.record import EXIT

Cause = Literal["stop", "kill", "wall_time", "lease", "cpu_time", "memory", "file_size", "pids", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the whole tree used; `max_rss_bytes` is that of its largest process.

    The last three are counted by a control group; None: there was none for it.
    `oom_kills` are processes that the kernel killed for want of memory, and
    `forks_refused` how often the tree met its bound on processes.
    """

    user_cpu_ms: int
    system_cpu_ms: int
    max_rss_bytes: int
    duration_ms: int
    memory_peak_bytes: int | None = None
    oom_kills: int | None = None
    forks_refused: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTotals:
    """Bytes that the worker wrote, and those of them that are in the file: its first ones."""

    total_bytes: int
    kept_bytes: int

    @property
    def is_truncated(self) -> bool:
        """Whether the worker wrote more than is kept."""
        return self.kept_bytes < self.total_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """How a worker ended. Either `code` or `signal` is set; neither when it was lost.

    `cause` says why it had to leave, or which limit it did not survive (see
    `host/verdict.py`); None: it left by itself. "lost": its
    supervisor was killed, and all that is known is that nothing of it is left.
    """

    code: int | None
    signal: int | None
    ended_us: int | None  # When its program ended, wall clock since 1970. None: lost.
    cause: Cause | None
    usage: Usage | None  # None: lost.
    stdout: StreamTotals
    stderr: StreamTotals
    undelivered_input_bytes: int  # Accepted by `write_input`, never taken by the worker's pipe.
    strays_killed: int  # Processes other than the leader that had to be killed.
    output_errno: int | None  # Why a file holds less than its cap allows.


class Report(NamedTuple):
    """A supervisor's last word: the exit, and how much input had reached the supervisor."""

    exit: ProcessExit
    received_input_bytes: int


def report_of(told: Mapping[str, Any]) -> Report:
    """From the content of exit.json. Raises KeyError, TypeError: it is none."""
    told_exit = ProcessExit(
        code=told["code"],
        signal=told["signal"],
        ended_us=told["ended_at_us"],
        cause=told["cause"],
        usage=Usage(**told["usage"]),
        stdout=StreamTotals(**told["stdout"]),
        stderr=StreamTotals(**told["stderr"]),
        undelivered_input_bytes=told["undelivered_input_bytes"],
        strays_killed=told["strays_killed"],
        output_errno=told["output_errno"],
    )
    return Report(told_exit, told["received_input_bytes"])


def read_report(directory: Path) -> Report | None:
    """What exit.json says; None: it is not there, or damaged, and nobody knows. Raises OSError."""
    try:
        return report_of(json.loads((directory / EXIT).read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def lost(*, kept: tuple[int, int], undelivered_input_bytes: int, output_errno: int | None) -> ProcessExit:
    """Nobody saw the end. `kept`: of stdout and stderr, as the index tells."""
    return ProcessExit(
        code=None,
        signal=None,
        ended_us=None,
        cause="lost",
        usage=None,
        stdout=StreamTotals(total_bytes=kept[0], kept_bytes=kept[0]),
        stderr=StreamTotals(total_bytes=kept[1], kept_bytes=kept[1]),
        undelivered_input_bytes=undelivered_input_bytes,
        strays_killed=0,
        output_errno=output_errno,
    )
