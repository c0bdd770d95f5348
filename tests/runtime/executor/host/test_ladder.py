"""The stop ladder, without a process."""

from __future__ import annotations

import pytest

from watchglass.runtime.executor.host.ladder import KILL, LEASE, STOP, WALL_TIME, Ladder


def test_the_first_to_ask_names_the_cause_and_is_the_one_to_signal() -> None:
    ladder = Ladder()
    assert ladder.ask(WALL_TIME, now=10.0, grace_s=5.0)
    assert not ladder.ask(STOP, now=11.0, grace_s=5.0)
    assert (ladder.cause, ladder.force_at) == (WALL_TIME, 15.0)


@pytest.mark.parametrize(("grace_s", "force_at"), [(1.0, 12.0), (0.0, 11.0), (100.0, 15.0)])
def test_asking_again_can_only_shorten_the_grace(grace_s: float, force_at: float) -> None:
    ladder = Ladder()
    ladder.ask(STOP, now=10.0, grace_s=5.0)
    ladder.ask(STOP, now=11.0, grace_s=grace_s)
    assert ladder.force_at == force_at


@pytest.mark.parametrize(
    ("causes", "kept"), [([KILL], KILL), ([KILL, LEASE], LEASE), ([LEASE, KILL], LEASE), ([KILL, KILL], KILL)]
)
def test_force_overrides_asking_and_a_lost_server_overrides_all(causes: list[str], kept: str) -> None:
    ladder = Ladder()
    ladder.ask(STOP, now=10.0, grace_s=5.0)
    for cause in causes:
        ladder.force(cause, now=11.0)
    assert (ladder.cause, ladder.force_at) == (kept, 11.0)
    assert not ladder.ask(STOP, now=12.0, grace_s=5.0)
    assert (ladder.cause, ladder.force_at) == (kept, 11.0)
