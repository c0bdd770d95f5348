"""A journal in the task contract's words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import Seq
from watchglass.protocol.events import Event
from watchglass.protocol.frames import encode_envelope
from watchglass.protocol.lifecycle import Phase, status_of
from watchglass.protocol.tasks import TaskEvent, TaskEventType
from watchglass.runtime.task_history import History
from watchglass.store.base import Record

TS = "2026-01-01T00:00:00.000000Z"


def status(phase: Phase) -> Event:
    return Event("status", {"status": status_of(phase), "phase": phase})


def told(*events: Event) -> list[TaskEvent]:
    records = [
        Record(Seq(seq), encode_envelope(seq, "t", TS, event)) for seq, event in enumerate(events, start=1)
    ]
    return list(History("t").feed(records))


def types(*events: Event) -> list[TaskEventType]:
    return [event.event_type for event in told(*events)]


def test_each_event_keeps_the_sequence_and_the_time_of_its_record() -> None:
    [first, second] = told(Event("submitted", {}), Event("text_delta", {"text": "x"}), status(Phase.ACCEPTED))
    assert (first.seq, second.seq) == (1, 3)
    assert {first.timestamp, second.timestamp} == {TS}


def test_what_is_said_again_after_a_restart_is_told_once() -> None:
    running = status(Phase.RUNNING)
    recovered = Event("recovered", {})
    assert types(running, recovered, running, recovered, running) == ["started", "recovered", "recovered"]


def test_the_end_has_the_facts_of_the_exit_and_the_reason_of_a_failed_launch() -> None:
    error = Event("error", {"code": "launch_failed", "message": "no such file"})
    ended = Event("exit", {"code": None, "signal": None, "reason": "launch_failed"})
    [event] = told(error, ended, status(Phase.FAILED), Event("end", {}))
    assert (event.event_type, event.message) == ("failed", "no such file")
    assert event.data == {"exit_code": None, "exit_signal": None, "reason": "launch_failed"}


def test_a_degraded_plan_says_every_loss() -> None:
    [event] = told(Event("degraded", {"fallback_reasons": ["a: lost", "b: lost"]}))
    assert event.message == "a: lost; b: lost"


@given(
    st.lists(
        st.one_of(
            st.sampled_from(list(Phase)).map(status),
            st.sampled_from(["recovered", "submitted", "timeout_triggered"]).map(
                lambda name: Event(name, {"wall_time_ms": 1})
            ),
            st.text().map(lambda text: Event("text_delta", {"text": text})),
            st.text().map(lambda name: Event(name if name.isidentifier() else "x", {"event": "finished"})),
        ),
        max_size=30,
    )
)
def test_whatever_a_journal_says_numbers_grow_and_only_recoveries_repeat(events: list[Event]) -> None:
    history = [event for event in events if event.name not in {"error", "exit", "reserved", "released"}]
    translated = told(*history)
    numbers = [event.seq for event in translated]
    assert numbers == sorted(set(numbers))
    once = [event.event_type for event in translated if event.event_type != "recovered"]
    assert len(once) == len(set(once))
    assert sum(event.event_type == "recovered" for event in translated) == sum(
        event.name == "recovered" for event in history
    )
