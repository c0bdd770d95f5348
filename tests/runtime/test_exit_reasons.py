"""The contract's words for an end."""

from __future__ import annotations

import signal
from typing import Any, get_args

import pytest

from watchglass.protocol.lifecycle import Cue
from watchglass.runtime.executor import ProcessExit, StreamTotals, Usage
from watchglass.runtime.executor.exits import Cause
from watchglass.runtime.exit_reasons import limits_met, reason_of
from watchglass.runtime.explaining import ENDED_BECAUSE

NO_BYTES = StreamTotals(total_bytes=0, kept_bytes=0)


def seen(cause: str | None, *, code: int | None = 0, number: int | None = None, **used: Any) -> ProcessExit:
    return ProcessExit(
        code=code,
        signal=number,
        ended_us=1,
        cause=cause,  # type: ignore[arg-type]  # A test's table holds plain strings.
        usage=Usage(user_cpu_ms=1, system_cpu_ms=1, max_rss_bytes=1, duration_ms=1, **used),
        stdout=NO_BYTES,
        stderr=NO_BYTES,
        undelivered_input_bytes=0,
        strays_killed=0,
        output_errno=None,
    )


@pytest.mark.parametrize(
    ("asked", "cause", "reason"),
    [
        (None, None, "exited"),
        (None, "wall_time", "timeout"),
        (None, "cpu_time", "cpu_limit_exceeded"),
        (None, "memory", "memory_limit_exceeded"),
        (None, "pids", "resource_limit_exceeded"),
        (None, "file_size", "resource_limit_exceeded"),
        (None, "lost", "lost"),
        (Cue.STOP, "stop", "stopped"),
        (Cue.STOP, "memory", "memory_limit_exceeded"),
        (Cue.CANCEL, "kill", "cancelled"),
        (Cue.CANCEL, "cpu_time", "cancelled"),
        (Cue.CANCEL, "lost", "lost"),
    ],
)
def test_the_strongest_reason_is_told(asked: Cue | None, cause: str | None, reason: str) -> None:
    assert reason_of(asked, seen(cause)) == reason


def test_a_signal_of_somebody_else_is_told() -> None:
    assert reason_of(None, seen(None, code=None, number=signal.SIGKILL)) == "signalled"


def test_every_cause_has_a_reason_that_can_be_explained() -> None:
    for cause in get_args(Cause):
        for asked in (None, Cue.STOP, Cue.CANCEL):
            assert reason_of(asked, seen(cause)) in ENDED_BECAUSE


def test_what_limits_did_is_told_also_of_one_that_coped() -> None:
    assert list(limits_met(seen(None))) == []
    assert list(limits_met(seen(None, oom_kills=0, forks_refused=0))) == []
    told = list(limits_met(seen(None, oom_kills=2, forks_refused=7)))
    assert ["2" in told[0], "7" in told[1]] == [True, True]
