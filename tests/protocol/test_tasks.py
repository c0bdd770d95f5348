"""The task contract's words: requests, and the translation of a worker's phase."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.lifecycle import ENDED, Cue, IllegalTransition, Phase, advance
from watchglass.protocol.parsing import decode
from watchglass.protocol.tasks import FINISHED, STATUS_OF, SubmitTaskRequest, TaskStatus

ORDER = {TaskStatus.ACCEPTED: 0, TaskStatus.RUNNING: 1, **dict.fromkeys(FINISHED, 2)}
IDS = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=128).filter(lambda text: text not in {".", ".."})


def submitted(**request: Any) -> SubmitTaskRequest:
    body = {"execution": {"kind": "command", "program": "true"}, **request}
    return decode(SubmitTaskRequest, json.dumps(body))


@given(st.lists(st.sampled_from(list(Cue)), max_size=30))
def test_a_status_only_ever_goes_forward_and_a_finished_one_stays(cues: list[Cue]) -> None:
    phase = Phase.ACCEPTED
    for cue in cues:
        before = STATUS_OF[phase]
        try:
            phase = advance(phase, cue)
        except IllegalTransition:
            continue
        after = STATUS_OF[phase]
        assert ORDER[before] <= ORDER[after]
        if before in FINISHED:
            assert after is before


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_status_and_the_ended_ones_are_the_finished_ones(phase: Phase) -> None:
    assert (STATUS_OF[phase] in FINISHED) is (phase in ENDED)


def test_only_a_task_that_ended_by_itself_and_well_is_a_success() -> None:
    assert [phase for phase in Phase if STATUS_OF[phase] is TaskStatus.SUCCESS] == [Phase.SUCCEEDED]


@given(IDS)
def test_an_id_of_the_contracts_characters_is_taken(task_id: str) -> None:
    assert submitted(task_id=task_id).task_id == task_id


@given(st.text(max_size=20).filter(lambda text: not all(mark in "abcXYZ019._-" for mark in text)))
def test_an_id_with_any_other_character_is_refused(task_id: str) -> None:
    alphabet = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    if set(task_id) <= alphabet:
        assert submitted(task_id=task_id).task_id == task_id
    else:
        with pytest.raises(InvalidRequest):
            submitted(task_id=task_id)


@given(
    st.dictionaries(
        st.sampled_from(["task_id", "limits", "sandbox", "policy", "control_context", "metadata"]), st.none()
    )
)
def test_null_is_the_same_as_nothing(nulls: dict[str, None]) -> None:
    assert submitted(**nulls) == submitted()


@pytest.mark.parametrize("part", ["limits", "sandbox", "policy", "control_context"])
def test_null_is_the_same_as_nothing_inside_a_part_too(part: str) -> None:
    names = SubmitTaskRequest.model_fields[part].annotation
    assert names is not None
    assert submitted(**{part: dict.fromkeys(names.model_fields)}) == submitted()


def test_null_is_no_value_of_a_map() -> None:
    for wrong in ({"metadata": {"a": None}}, {"control_context": {"labels": {"a": None}}}):
        with pytest.raises(InvalidRequest):
            submitted(**wrong)
