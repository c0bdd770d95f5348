"""Known events have a shape; unknown names are passed on unchanged."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.base import PRODUCED_EVENTS_MAX
from watchglass.protocol.errors import InvalidRequest
from watchglass.protocol.events import RUNTIME_ONLY, SHAPES, AppendEventsRequest, Event, shape_fault
from watchglass.protocol.parsing import decode

from support import json_values

EXAMPLES: dict[str, dict[str, Any]] = {
    "user_message": {"segments": [{"kind": "text", "content": "hi"}]},
    "system_item": {"item": {"kind": "note"}},
    "invoke_start": {"kind": "user"},
    "turn_start": {"turn": 1},
    "turn_end": {"turn": 1, "result": "done"},
    "llm_call_start": {"llm_call": {"id": "c1"}},
    "llm_call_end": {"llm_call": {"id": "c1"}},
    "llm_retry": {"attempt": 2},
    "text_delta": {"text": "hel"},
    "text_done": {"text": "hello"},
    "thinking_start": {},
    "thinking_delta": {"text": "hm"},
    "thinking_done": {"text": "hmm"},
    "tool_call_start": {"id": "t1", "name": "grep"},
    "tool_call_args_delta": {"id": "t1", "json": '{"pat'},
    "tool_call_done": {"id": "t1", "name": "grep", "arguments": {"pattern": "x"}},
    "tool_result": {"id": "t1", "summary": "2 hits", "output": "a\nb", "is_error": False},
    "usage": {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 1},
    "run_end": {"result": "ok"},
    "error": {"code": "overloaded", "message": "try later"},
    "status": {"status": "running"},
    "alert": {"level": "warning", "source": "agent", "message": "disk", "timestamp_ms": 1},
    "shutdown": {},
    "output": {"stream": "stderr", "text": "oops", "offset": 0},
    "egress_denied": {"host": "example.org", "port": 443, "reason": "not_allowed", "count": 10},
    "egress_usage": {"connections": 2, "sent_bytes": 70, "received_bytes": 900, "denied": 1},
    "execution_plan": {
        "capability_mode": "strict",
        "degraded": False,
        "fallback_reasons": [],
        "features": {},
    },
    "reserved": {"task_slots": 1, "memory_bytes": 1024, "pids": 8},
    "released": {"task_slots": 1},
    "exit": {"code": None, "signal": 9, "reason": "cancelled"},
    "end": {},
    "submitted": {},
    "degraded": {"fallback_reasons": ["sandbox: not here"]},
    "kill_requested": {"by": "stop", "reason": None},
    "timeout_triggered": {"wall_time_ms": 1},
    "recovered": {},
}
REQUIRED = [
    pytest.param(name, field, id=f"{name}.{field}")
    for name, shape in SHAPES.items()
    for field, info in shape.model_fields.items()
    if info.is_required() and name != "snapshot"
    for field in [info.alias or field]
]


def test_there_is_an_example_of_every_known_event() -> None:
    assert set(EXAMPLES) == set(SHAPES) - {"snapshot"}  # A snapshot is tested where it is made.


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_event_of_the_contract_s_shape_has_no_fault(name: str) -> None:
    assert shape_fault(Event(name, EXAMPLES[name])) is None


@pytest.mark.parametrize("name", EXAMPLES)
def test_more_fields_than_the_contract_names_are_no_fault(name: str) -> None:
    assert shape_fault(Event(name, {**EXAMPLES[name], "x-ours": [1, {"a": None}]})) is None


@pytest.mark.parametrize(("name", "field"), REQUIRED)
def test_a_known_event_without_a_field_names_the_event_and_the_field(name: str, field: str) -> None:
    left = {key: value for key, value in EXAMPLES[name].items() if key != field}
    fault = shape_fault(Event(name, left))
    assert fault is not None
    assert fault == f"data.{field}: field required (event '{name}')"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("text_delta", {"text": 5}),
        ("text_done", {"text": None}),
        ("usage", {"input_tokens": "5"}),
        ("usage", {"output_tokens": True}),
        ("tool_result", {"is_error": "no"}),
        ("output", {"stream": "stdlog"}),
        ("alert", {"timestamp_ms": 1.5}),
        ("user_message", {"segments": {}}),
        ("tool_call_args_delta", {"json": {}}),
    ],
)
def test_a_field_of_another_type_is_named(name: str, change: dict[str, Any]) -> None:
    fault = shape_fault(Event(name, {**EXAMPLES[name], **change}))
    assert fault is not None
    assert next(iter(change)) in fault


def test_a_nested_field_is_named_by_its_path() -> None:
    fault = shape_fault(Event("user_message", {"segments": [{"kind": "text"}, {"content": "x"}]}))
    assert fault is not None
    assert "segments.1.kind" in fault


@given(st.text(min_size=1).filter(lambda name: name not in SHAPES), json_values.objects)
def test_an_unknown_event_is_never_at_fault(name: str, said: dict[str, object]) -> None:
    assert shape_fault(Event(name, said)) is None


def test_what_the_runtime_says_of_itself_nobody_else_may_say() -> None:
    told = {"execution_plan", "reserved", "released", "egress_denied", "egress_usage"}
    assert told | {"snapshot", "exit", "end"} == RUNTIME_ONLY
    for name in sorted(RUNTIME_ONLY):
        with pytest.raises(
            InvalidRequest, match=rf"events\.0\.event: .* the runtime alone writes \(got '{name}'"
        ):
            decode(AppendEventsRequest, orjson.dumps({"events": [{"event": name}]}))


def test_a_produced_event_needs_a_name_and_may_leave_out_its_data() -> None:
    request = decode(AppendEventsRequest, '{"events": [{"event": "my_own"}]}')
    assert request.events[0].data == {}
    with pytest.raises(InvalidRequest, match=r"events\.0\.event: must not be blank"):
        decode(AppendEventsRequest, '{"events": [{"event": " "}]}')
    with pytest.raises(InvalidRequest, match=r"events\.1\.data"):
        decode(AppendEventsRequest, '{"events": [{"event": "a"}, {"event": "b", "data": []}]}')


@pytest.mark.parametrize("count", [0, PRODUCED_EVENTS_MAX + 1])
def test_one_append_takes_1_to_10_000_events(count: int) -> None:
    with pytest.raises(InvalidRequest, match=r"events: "):
        decode(AppendEventsRequest, orjson.dumps({"events": [{"event": "x"}] * count}))
    most = decode(AppendEventsRequest, orjson.dumps({"events": [{"event": "x"}] * PRODUCED_EVENTS_MAX}))
    assert len(most.events) == PRODUCED_EVENTS_MAX
