"""A worker's life: the table, and what lies beside it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.lifecycle import (
    ENDED,
    TRANSITIONS,
    Cue,
    IllegalTransition,
    Phase,
    WorkerStatus,
    advance,
    ending,
    status_of,
)


def walk(phase: Phase, *cues: Cue) -> list[Phase]:
    """Every phase on the way."""
    passed = []
    for cue in cues:
        phase = advance(phase, cue)
        passed.append(phase)
    return passed


def reachable(phase: Phase) -> set[Phase]:
    """Every phase that some sequence of cues leads to."""
    found: set[Phase] = set()
    pending = [phase]
    while pending:
        for following in set(TRANSITIONS[pending.pop()].values()) - found:
            found.add(following)
            pending.append(following)
    return found


@st.composite
def lives(draw: st.DrawFn) -> list[Phase]:
    """The phases of a worker that is given legal cues alone, from anywhere."""
    phase = draw(st.sampled_from(Phase))
    passed = [phase]
    for _ in range(draw(st.integers(0, 12))):
        phase = TRANSITIONS[phase][draw(st.sampled_from(sorted(TRANSITIONS[phase])))]
        passed.append(phase)
    return passed


def test_a_worker_that_ends_by_itself_goes_this_way() -> None:
    assert walk(Phase.ACCEPTED, Cue.RESERVED, Cue.LAUNCHED, Cue.INPUT, Cue.ENDED_WELL) == [
        Phase.STARTING,
        Phase.RUNNING,
        Phase.RUNNING,
        Phase.SUCCEEDED,
    ]
    assert walk(Phase.RUNNING, Cue.ENDED_BADLY) == [Phase.FAILED]


def test_stop_and_cancel_of_a_running_worker_lead_through_stopping() -> None:
    assert walk(Phase.RUNNING, Cue.STOP, Cue.ENDED_STOPPED) == [Phase.STOPPING, Phase.STOPPED]
    assert walk(Phase.RUNNING, Cue.CANCEL, Cue.ENDED_CANCELLED) == [Phase.STOPPING, Phase.CANCELLED]
    assert walk(Phase.STARTING, Cue.STOP, Cue.LAUNCHED) == [Phase.STOPPING, Phase.STOPPING]


def test_a_stop_may_still_become_a_cancel() -> None:
    assert walk(Phase.RUNNING, Cue.STOP, Cue.CANCEL, Cue.ENDED_CANCELLED)[-1] is Phase.CANCELLED


def test_a_worker_that_waits_ends_at_once_for_nothing_runs() -> None:
    assert advance(Phase.ACCEPTED, Cue.STOP) is Phase.STOPPED
    assert advance(Phase.ACCEPTED, Cue.CANCEL) is Phase.CANCELLED


def test_a_launch_that_fails_is_a_failed_worker() -> None:
    assert advance(Phase.STARTING, Cue.LAUNCH_FAILED) is Phase.FAILED


def test_every_phase_has_its_row() -> None:
    assert set(TRANSITIONS) == set(Phase)


@given(lives())
def test_an_ended_worker_stays_as_it_ended(passed: list[Phase]) -> None:
    for before, after in pairwise(passed):
        assert before not in ENDED or after is before


@given(lives())
def test_no_life_goes_back(passed: list[Phase]) -> None:
    order = [Phase.ACCEPTED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING]
    ranks = [order.index(phase) if phase in order else len(order) for phase in passed]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("phase", sorted(ENDED))
def test_asking_an_ended_worker_again_is_no_error_and_nothing_else_is_taken(phase: Phase) -> None:
    assert TRANSITIONS[phase] == {Cue.STOP: phase, Cue.CANCEL: phase}


@pytest.mark.parametrize("phase", sorted(set(Phase) - ENDED))
def test_every_worker_that_lives_can_end_both_by_stop_and_by_cancel(phase: Phase) -> None:
    assert {Phase.STOPPED, Phase.CANCELLED} <= reachable(phase)
    assert Cue.STOP in TRANSITIONS[phase]
    assert Cue.CANCEL in TRANSITIONS[phase]


@pytest.mark.parametrize("phase", sorted(ENDED))
def test_every_end_can_be_reached_from_the_beginning(phase: Phase) -> None:
    assert phase in reachable(Phase.ACCEPTED)


@given(st.sampled_from(Phase), st.sampled_from(Cue))
def test_a_cue_outside_the_table_is_refused_and_names_both(phase: Phase, cue: Cue) -> None:
    if cue in TRANSITIONS[phase]:
        assert advance(phase, cue) is TRANSITIONS[phase][cue]
        return
    with pytest.raises(IllegalTransition) as refused:
        advance(phase, cue)
    assert (refused.value.phase, refused.value.cue) == (phase, cue)
    assert phase in str(refused.value)
    assert cue in str(refused.value)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("asked", [None, Cue.STOP, Cue.CANCEL])
def test_lost_is_stronger_than_anything_that_was_asked(asked: Cue | None, *, clean: bool) -> None:
    assert ending(asked, lost=True, clean=clean) is Cue.LOST


@pytest.mark.parametrize("clean", [True, False])
def test_what_was_asked_is_stronger_than_how_the_process_exited(*, clean: bool) -> None:
    assert ending(Cue.CANCEL, lost=False, clean=clean) is Cue.ENDED_CANCELLED
    assert ending(Cue.STOP, lost=False, clean=clean) is Cue.ENDED_STOPPED


def test_a_worker_that_nobody_asked_is_judged_by_its_exit() -> None:
    assert ending(None, lost=False, clean=True) is Cue.ENDED_WELL
    assert ending(None, lost=False, clean=False) is Cue.ENDED_BADLY


@given(asked=st.sampled_from([None, Cue.STOP, Cue.CANCEL]), lost=st.booleans(), clean=st.booleans())
def test_the_cue_of_an_end_fits_the_phase_that_the_request_led_to(
    asked: Cue | None, *, lost: bool, clean: bool
) -> None:
    phase = Phase.RUNNING if asked is None else advance(Phase.RUNNING, asked)
    assert advance(phase, ending(asked, lost=lost, clean=clean)) in ENDED


def test_the_contract_shows_three_words() -> None:
    shown = {phase: status_of(phase) for phase in Phase}
    assert {phase for phase, status in shown.items() if status is WorkerStatus.CANCELLED} == {Phase.CANCELLED}
    assert {phase for phase, status in shown.items() if status is WorkerStatus.RUNNING} == {
        Phase.ACCEPTED,
        Phase.STARTING,
        Phase.RUNNING,
        Phase.STOPPING,
    }
    assert {phase for phase, status in shown.items() if status is WorkerStatus.STOPPED} == {
        Phase.STOPPED,
        Phase.SUCCEEDED,
        Phase.FAILED,
        Phase.LOST,
    }
