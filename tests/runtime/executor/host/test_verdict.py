"""Why a worker ended, for every mix of what was seen."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.runtime.executor.host.verdict import cause_of_end

NOTHING: dict[str, Any] = {
    "asked": None,
    "cpu_limit_s": None,
    "cpu_used_s": 0.5,
    "has_file_size_limit": False,
    "oom_kills": 0,
    "forks_refused": 0,
}
ALL = NOTHING | {"cpu_limit_s": 2, "has_file_size_limit": True, "oom_kills": 1, "forks_refused": 1}
KILLED, OVERDUE, TOO_LONG = -signal.SIGKILL, -signal.SIGXCPU, -signal.SIGXFSZ

statuses = st.integers(min_value=-64, max_value=255)


@pytest.mark.parametrize(
    ("status", "seen", "cause"),
    [
        (0, {}, None),
        (1, {}, None),
        (137, {}, None),
        (KILLED, {}, None),
        (OVERDUE, {}, None),
        (TOO_LONG, {}, None),
        (OVERDUE, {"cpu_limit_s": 2, "cpu_used_s": 1.2}, "cpu_time"),
        (3, {"cpu_limit_s": 2, "cpu_used_s": 1.9}, None),
        (3, {"cpu_limit_s": 2, "cpu_used_s": 2.1}, "cpu_time"),
        (0, {"cpu_limit_s": 2, "cpu_used_s": 2.1}, "cpu_time"),
        (0, {"cpu_limit_s": 2, "cpu_used_s": 1.95}, None),
        (KILLED, {"oom_kills": 1}, "memory"),
        (137, {"oom_kills": 2}, "memory"),
        (0, {"oom_kills": 2}, "memory"),
        (0, {"oom_kills": 1, "forks_refused": 1}, "memory"),
        (TOO_LONG, {"has_file_size_limit": True}, "file_size"),
        (153, {"has_file_size_limit": True}, None),
        (2, {"forks_refused": 1}, "pids"),
        (-signal.SIGABRT, {"forks_refused": 1}, "pids"),
        (-signal.SIGSEGV, {"forks_refused": 1}, None),
        (0, {"forks_refused": 1}, None),
        (TOO_LONG, {"has_file_size_limit": True, "oom_kills": 1}, "memory"),
    ],
)
def test_the_first_that_holds_is_the_cause(status: int, seen: dict[str, Any], cause: str | None) -> None:
    assert cause_of_end(status, **(NOTHING | seen)) == cause


@given(status=statuses, asked=st.sampled_from(["stop", "wall_time", "cpu_time", "memory", "kill", "lease"]))
def test_one_that_was_made_to_leave_left_for_that(status: int, asked: str) -> None:
    assert cause_of_end(status, **(ALL | {"asked": asked})) == asked


@given(status=statuses)
def test_without_a_limit_and_a_counter_every_end_is_its_own(status: int) -> None:
    assert cause_of_end(status, **NOTHING) is None


@given(forks_refused=st.integers(0, 5))
def test_one_that_exits_0_within_its_cpu_time_and_memory_has_coped(forks_refused: int) -> None:
    assert cause_of_end(0, **(ALL | {"oom_kills": 0, "forks_refused": forks_refused})) is None


@given(status=statuses.filter(lambda status: status != OVERDUE), oom_kills=st.integers(1, 5))
def test_want_of_memory_is_told_whatever_the_leader_made_of_it(status: int, oom_kills: int) -> None:
    assert cause_of_end(status, **(ALL | {"oom_kills": oom_kills})) == "memory"
