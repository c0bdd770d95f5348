"""Which tool calls are open, by a model of ten lines; and it is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.events import Event
from watchglass.runtime.open_calls import ARGUMENTS_CHARS_MAX, CALLS, OPEN_CALLS_MAX, OpenCalls

IDS = st.sampled_from("abc")
STEPS = st.one_of(
    st.builds(lambda i: Event("tool_call_start", {"id": i, "name": f"n-{i}"}), IDS),
    st.builds(lambda i, t: Event("tool_call_args_delta", {"id": i, "json": t}), IDS, st.text(max_size=3)),
    st.builds(lambda i: Event("tool_call_done", {"id": i, "name": "n", "arguments": {}}), IDS),
    st.builds(lambda i: Event("tool_result", {"id": i, "summary": ""}), IDS),
    st.sampled_from([Event("turn_end", {"turn": 1}), Event("run_end", {}), Event("end", {})]),
)


def model(events: list[Event]) -> list[tuple[str, str, str]]:
    calls: dict[str, str] = {}
    for name, data in events:
        if name == "tool_call_start":
            calls.pop(data["id"], None)
            calls[data["id"]] = ""
        elif name == "tool_call_args_delta" and data["id"] in calls:
            calls[data["id"]] += data["json"]
        elif name in {"tool_call_done", "tool_result"}:
            calls.pop(data["id"], None)
        elif name in {"turn_end", "run_end", "end"}:
            calls.clear()
    return [(call_id, f"n-{call_id}", arguments) for call_id, arguments in calls.items()]


@given(st.lists(STEPS, max_size=20), st.integers(0, 20))
def test_the_open_calls_are_those_that_began_and_are_not_done_over_a_restart_too(
    events: list[Event], restart: int
) -> None:
    calls = OpenCalls()
    for place, event in enumerate(events):
        if place == restart:
            calls = OpenCalls(calls.state())
        calls.feed(event)
    assert calls.state() == model(events)
    assert {event.name for event in events} <= CALLS


def test_calls_and_arguments_are_bounded() -> None:
    calls = OpenCalls()
    for number in range(OPEN_CALLS_MAX + 5):
        calls.feed(Event("tool_call_start", {"id": str(number), "name": "n"}))
    assert [call_id for call_id, _, _ in calls.state()] == [str(n) for n in range(5, OPEN_CALLS_MAX + 5)]
    for _ in range(3):
        calls.feed(Event("tool_call_args_delta", {"id": "9", "json": "x" * ARGUMENTS_CHARS_MAX}))
    assert max(len(arguments) for _, _, arguments in calls.state()) == ARGUMENTS_CHARS_MAX
