"""A refused body names the field at fault, and never repeats a secret."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.base import Wire
from watchglass.protocol.errors import InvalidJson, InvalidRequest
from watchglass.protocol.parsing import decode
from watchglass.protocol.workers import (
    AssistantIntent,
    CreateWorkerRequest,
    LifecycleRequest,
    NamedProfile,
    RoleIntent,
    SignalRequest,
    TaskIntent,
    WorkerInput,
)

from support import json_values


def created(**fields: Any) -> CreateWorkerRequest:
    return decode(CreateWorkerRequest, orjson.dumps(fields))


def refusal(model: type[Wire], **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        decode(model, orjson.dumps(fields))
    return str(refused.value)


@pytest.mark.parametrize("body", [b"", b"{", b'{"kind":}', b"{'kind': 1}", b'{"a": 1}}', b"nonsense"])
def test_a_body_that_is_not_json_is_refused_and_the_place_is_told(body: bytes) -> None:
    with pytest.raises(InvalidJson, match=r"the body is not JSON: .* at line 1 column \d+"):
        decode(WorkerInput, body)


@pytest.mark.parametrize("body", [b'{"content": "\xff\xfe"}', b'{"content": "\\ud800"}'])
def test_a_body_that_is_not_unicode_is_refused_as_json(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        decode(WorkerInput, body)


def test_a_body_nested_without_end_is_refused_as_json() -> None:
    with pytest.raises(InvalidJson, match="recursion limit"):
        decode(CreateWorkerRequest, b'{"metadata":' * 100_000)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("intent", {}, "intent.kind: field required"),
        ("intent", {"kind": "x"}, "input should be one of 'assistant', 'task', 'role' (got 'x')"),
        ("profile", {"kind": ["a"] * 5000}, "input should be one of 'runtime_default', 'builtin', 'named'"),
    ],
)
def test_the_field_that_chooses_a_shape_is_named_like_any_other(field: str, value: Any, says: str) -> None:
    told = refusal(CreateWorkerRequest, **{field: value})
    assert told.startswith(f"{field}.kind: ")
    assert told.endswith(says)


@pytest.mark.parametrize("body", ["[]", "null", "1", '"text"'])
def test_a_body_that_is_no_object_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^body: "):
        decode(WorkerInput, body)


@given(st.binary(max_size=60) | json_values.values.map(orjson.dumps))
def test_any_body_becomes_a_model_or_one_of_the_two_faults(body: bytes) -> None:
    with contextlib.suppress(InvalidJson, InvalidRequest):
        assert isinstance(decode(CreateWorkerRequest, body), CreateWorkerRequest)


def test_an_empty_request_makes_the_default_worker() -> None:
    request = created()
    assert request.intent == AssistantIntent()
    assert request.profile.kind == "runtime_default"
    assert request.execution is None
    assert request.limits.wall_time_ms is None
    assert request.speech == "text"


def test_the_unions_are_told_apart_by_their_kind() -> None:
    assert created(intent={"kind": "task", "objective": "x"}).intent == TaskIntent(objective="x")
    assert created(intent={"kind": "role", "role": "critic"}).intent == RoleIntent(role="critic")
    assert created(profile={"kind": "named", "value": "p"}).profile == NamedProfile(value="p")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"intent": {"kind": "robot"}}, "intent.kind: "),
        ({"intent": {}}, "intent.kind: "),
        ({"intent": {"kind": "task"}}, "intent.objective: field required"),
        (
            {"intent": {"kind": "task", "objective": " "}},
            "intent.objective: must not be blank (got ' ')",
        ),
        ({"intent": {"kind": "role", "role": ""}}, "intent.role: must not be blank"),
        ({"profile": {"kind": "named"}}, "profile.value: field required"),
        ({"profile": {"kind": "builtin", "value": "\t"}}, "profile.value: must not be blank"),
        ({"config_bundle": {}}, "config_bundle.id: field required"),
        ({"requested_capabilities": [{"name": "a"}, {"name": " "}]}, "requested_capabilities.1.name: "),
        ({"workspace_refs": [{"name": "a"}]}, "workspace_refs.0.reference: field required"),
        ({"mount_refs": {}}, "mount_refs: "),
        ({"worker_id": "a/b"}, "worker_id: may have letters"),
        ({"worker_id": "x" * 129}, "worker_id: has 129 characters, and 128 is the most"),
        ({"speech": "morse"}, "speech: input should be 'text' or 'jsonl' (got 'morse')"),
        ({"metadata": {"a": 1}}, "metadata.a: "),
        ({"metadata": {"a": "x" * 4097}}, "metadata.a: "),
        ({"metadata": {str(n): "x" for n in range(65)}}, "metadata: "),
        ({"metadata": {"x" * 129: "x"}}, "metadata."),
        ({"limits": {"wall_time_ms": 0}}, "limits.wall_time_ms: input should be greater than 0 (got 0)"),
        ({"limits": {"memory_bytes": "1"}}, "limits.memory_bytes: "),
        ({"limits": {"pids_max": True}}, "limits.pids_max: "),
        ({"policy": {"capability_mode": "lax"}}, "policy.capability_mode: "),
        ({"control_context": {"owner": ""}}, "control_context.owner: must not be blank"),
        ({"control_context": {"tenant": " "}}, "control_context.tenant: must not be blank"),
        ({"initial_input": {}}, "initial_input.content: field required"),
        ({"initial_input": {"kind": "robot", "content": "x"}}, "initial_input.kind: "),
    ],
)
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], named: str) -> None:
    assert named in refusal(CreateWorkerRequest, **fields)


def test_several_wrong_fields_are_told_together_up_to_three() -> None:
    told = refusal(
        CreateWorkerRequest,
        limits={
            "wall_time_ms": 0,
            "cpu_time_sec": 0,
            "memory_bytes": 0,
            "pids_max": 0,
            "stdout_max_bytes": 0,
        },
    )
    assert told.count("input should be greater than 0") == 3
    assert told.endswith("; and 2 more")


def test_unknown_fields_are_ignored() -> None:
    assert created(unheard_of={"a": 1}) == created()


def test_the_bound_of_an_input_counts_its_bytes() -> None:
    most = 256 << 10
    assert decode(WorkerInput, orjson.dumps({"content": "x" * most})).kind == "user"
    told = refusal(WorkerInput, content="é" * (most // 2) + "x")
    assert f"content: has {most + 1} bytes, and {most} is the most" in told


@pytest.mark.parametrize("content", ["", " \n\t"])
def test_an_input_says_something(content: str) -> None:
    assert "content: must not be blank" in refusal(WorkerInput, content=content)


def test_a_worker_ref_may_come_along_but_never_half_of_it() -> None:
    assert "worker_ref.runtime_id: field required" in refusal(
        WorkerInput, content="x", worker_ref={"worker_id": "w"}
    )
    assert "worker_ref.worker_id: must not be blank" in refusal(
        LifecycleRequest, worker_ref={"worker_id": "", "runtime_id": "r"}
    )


def test_a_signal_is_named_in_any_case() -> None:
    assert decode(SignalRequest, '{"signal": "sigusr1"}').signal == "SIGUSR1"
    assert "signal: " in refusal(SignalRequest, signal=10)


SECRET = "sk-live-0123456789"
EXECUTION = {"program": "/bin/true"}


@pytest.mark.parametrize(
    "fields",
    [
        {"execution": {**EXECUTION, "env": {"TOKEN": [SECRET]}}},
        {"execution": {**EXECUTION, "env": {"TOKEN": f"{SECRET}\0"}}},
        {"execution": {**EXECUTION, "env": SECRET}},
        {"execution": {**EXECUTION, "env": {f"TOKEN={SECRET}": "x"}}},
        {"execution": {**EXECUTION, "env": {"TOKEN": SECRET, "OTHER": SECRET * 10_000}}},
        {"execution": {"program": "", "env": {"TOKEN": SECRET}}},
        {"execution": {"kind": "script", "script": f"curl -H {SECRET}\0"}},
        {"execution": {"kind": "command", "program": "x", "script": SECRET}},
        {"initial_input": {"content": [SECRET]}},
        {"initial_input": {"content": SECRET * 100_000}},
    ],
)
def test_what_may_be_a_secret_is_never_repeated(fields: dict[str, Any]) -> None:
    assert SECRET not in refusal(CreateWorkerRequest, **fields)


def test_a_long_value_is_cut_in_the_refusal() -> None:
    assert len(refusal(CreateWorkerRequest, worker_id="x" * 100_000)) < 300
    assert len(refusal(CreateWorkerRequest, metadata={"x" * 100_000: "y"})) < 300
