"""What is refused below `/api/v1`: status, code, and our facts in the details (task contract, "Errors")."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.protocol.errors import faults
from watchglass.server.errors import STATUS
from watchglass.server.tasks_errors import code_of

from support.api import Api
from support.task_face import TaskFace, refusal

FLAGS = ["--max-running-tasks=1", "--max-queued-tasks=1", "--grace-ms=200"]

MIB = 1 << 20
BY_CONTRACT = {
    "invalid_input": {400},
    "unsupported_capability": {400},
    "insufficient_resources": {400},
    "launch_failed": {400},
    "sandbox_setup_failed": {400},
    "permission_denied": {403},
    "not_found": {404},
    "conflict": {409},
    "resource_limit_exceeded": {429},
    "internal": {500},
}
BEYOND = {"unauthorized": {401}}
"""A code that the contract, which knows no token, does not have."""
HTTP_SAYS_MORE = {405, 410, 413, 416}
"""Statuses that some refusals called `invalid_input` have."""

TRUE = {"kind": "command", "program": "true"}
WRONG: list[tuple[str, Any]] = [
    ("execution", {}),
    ("execution", {"execution": None}),
    ("execution", {"execution": {"kind": "command"}}),
    ("execution", {"execution": {"kind": "command", "program": "  "}}),
    ("execution", {"execution": {"kind": "command", "program": "true", "script": "x"}}),
    ("execution", {"execution": {"kind": "script"}}),
    ("execution", {"execution": {"kind": "script", "script": "x", "program": "true"}}),
    ("execution", {"execution": {"kind": "function", "program": "true"}}),
    ("execution.interpreter", {"execution": {"kind": "script", "script": "x", "interpreter": []}}),
    ("execution.args", {"execution": {**TRUE, "args": "a"}}),
    ("execution.env", {"execution": {**TRUE, "env": {"": "x"}}}),
    ("execution.env", {"execution": {**TRUE, "env": {"A=B": "x"}}}),
    ("task_id", {"execution": TRUE, "task_id": ""}),
    ("task_id", {"execution": TRUE, "task_id": "a b"}),
    ("task_id", {"execution": TRUE, "task_id": "../up"}),
    ("task_id", {"execution": TRUE, "task_id": "x" * 129}),
    ("task_id", {"execution": TRUE, "task_id": 3}),
    ("limits.wall_time_ms", {"execution": TRUE, "limits": {"wall_time_ms": 0}}),
    ("limits.wall_time_ms", {"execution": TRUE, "limits": {"wall_time_ms": -1}}),
    ("limits.cpu_time_sec", {"execution": TRUE, "limits": {"cpu_time_sec": 0}}),
    ("limits.memory_bytes", {"execution": TRUE, "limits": {"memory_bytes": "1"}}),
    ("limits.pids_max", {"execution": TRUE, "limits": {"pids_max": 1.5}}),
    ("limits.stdout_max_bytes", {"execution": TRUE, "limits": {"stdout_max_bytes": 0}}),
    ("limits.stderr_max_bytes", {"execution": TRUE, "limits": {"stderr_max_bytes": 0}}),
    ("sandbox.profile", {"execution": TRUE, "sandbox": {"profile": "bubble"}}),
    ("sandbox.workspace_subdir", {"execution": TRUE, "sandbox": {"workspace_subdir": "/abs"}}),
    ("sandbox.workspace_subdir", {"execution": TRUE, "sandbox": {"workspace_subdir": "a/../.."}}),
    ("sandbox", {"execution": TRUE, "sandbox": {"chroot": True}}),
    ("sandbox", {"execution": TRUE, "sandbox": {"chroot": True, "rootfs": "/srv"}}),
    ("sandbox", {"execution": TRUE, "sandbox": {"chroot": True, "profile": "linux_sandbox"}}),
    ("sandbox.namespaces.net", {"execution": TRUE, "sandbox": {"namespaces": {"net": "yes"}}}),
    ("policy.capability_mode", {"execution": TRUE, "policy": {"capability_mode": "maybe"}}),
    (
        "control_context.control_plane_mode",
        {"execution": TRUE, "control_context": {"control_plane_mode": " "}},
    ),
    ("control_context.tenant", {"execution": TRUE, "control_context": {"tenant": ""}}),
    ("control_context.owner", {"execution": TRUE, "control_context": {"owner": "\t"}}),
    (
        "control_context.expected_runtime_profile",
        {"execution": TRUE, "control_context": {"expected_runtime_profile": ""}},
    ),
    ("control_context.labels", {"execution": TRUE, "control_context": {"labels": {"a": 1}}}),
    ("metadata", {"execution": TRUE, "metadata": {"a": 1}}),
    ("metadata", {"execution": TRUE, "metadata": {"a": None}}),
    ("metadata", {"execution": TRUE, "metadata": {str(number): "" for number in range(65)}}),
]


@pytest.mark.parametrize(("place", "body"), WRONG, ids=str)
def test_a_request_that_cannot_be_is_invalid_input(api: Api, place: str, body: Any) -> None:
    answer = api.request("POST", "/api/v1/tasks", body)
    assert refusal(answer)[:2] == (400, "invalid_input")
    assert place in answer.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"execution": NaN}'])
def test_a_body_that_is_no_object_is_invalid_input(api: Api, body: bytes) -> None:
    assert refusal(api.request("POST", "/api/v1/tasks", body))[:2] == (400, "invalid_input")


def test_a_body_over_the_bound_is_invalid_input(api: Api) -> None:
    answer = api.request("POST", "/api/v1/tasks", b"x" * (MIB + 1))
    assert refusal(answer) == (413, "invalid_input", {"fault": "body_too_large", "limit_bytes": MIB})


@pytest.mark.parametrize("query", ["wait_ms=-1", "wait_ms=60001", "wait_ms=x", "wait_ms=1&wait_ms=2"])
def test_a_wait_that_cannot_be_is_invalid_input(api: Api, query: str) -> None:
    status, code, details = refusal(api.request("GET", f"/api/v1/tasks/x?{query}"))
    assert (status, code, details["parameter"]) == (400, "invalid_input", "wait_ms")


@pytest.mark.parametrize("query", ["status=asleep", "limit=0", "after=nobody"])
def test_a_list_that_cannot_be_is_invalid_input(api: Api, query: str) -> None:
    assert refusal(api.request("GET", f"/api/v1/tasks?{query}"))[:2] == (400, "invalid_input")


@pytest.mark.parametrize("request_line", ["GET {}", "GET {}/events", "POST {}/kill"])
def test_nobody_is_not_found(api: Api, request_line: str) -> None:
    method, _, path = request_line.format("/api/v1/tasks/nobody").partition(" ")
    answer = api.request(method, path)
    assert refusal(answer) == (404, "not_found", {"fault": "task_not_found", "task_id": "nobody"})


def test_what_can_be_no_id_is_invalid_input(api: Api) -> None:
    assert refusal(api.request("GET", "/api/v1/tasks/a%20b"))[:2] == (400, "invalid_input")


@pytest.mark.parametrize(
    "path", ["/api/v1/", "/api/v1/tasks/", "/api/v1/runtime/mood", "/api/v1/tasks/x/mood"]
)
def test_a_path_without_an_endpoint_is_not_found(api: Api, path: str) -> None:
    assert refusal(api.request("GET", path))[:2] == (404, "not_found")


def test_a_method_that_is_not_taken_says_which_are(api: Api) -> None:
    answer = api.request("DELETE", "/api/v1/tasks")
    assert refusal(answer)[:2] == (405, "invalid_input")
    assert "POST" in answer.headers["allow"]


def test_a_taken_id_is_a_conflict_whoever_has_it(api: Api, tasks: TaskFace) -> None:
    tasks.finished(tasks.submit("true", task_id="taken"))
    worker = api.create(worker_id="taken-by-a-worker")["worker_id"]
    for task_id in ("taken", worker):
        answer = api.request("POST", "/api/v1/tasks", {"task_id": task_id, "execution": TRUE})
        assert refusal(answer) == (409, "conflict", {"fault": "worker_exists", "worker_id": task_id})


def test_a_full_queue_says_when_to_come_back(api: Api, tasks: TaskFace) -> None:
    running = tasks.sh("echo up; sleep 60")
    tasks.wait_running(running)
    waiting = tasks.submit("true")
    answer = api.request("POST", "/api/v1/tasks", {"execution": TRUE})
    assert refusal(answer)[:2] == (429, "resource_limit_exceeded")
    assert answer.headers["retry-after"] == "1"
    tasks.kill(running)
    assert tasks.finished(waiting)["status"] == "success"


def test_strict_refuses_what_cannot_be_given(api: Api) -> None:
    asked = {"execution": TRUE, "control_context": {"requires_strict_sandbox": True}}
    status, code, details = refusal(api.request("POST", "/api/v1/tasks", asked))
    assert (status, code) == (400, "unsupported_capability")
    assert details["feature"]


def test_the_token_is_asked_for_here_too(api: Api) -> None:
    answer = api.request("GET", "/api/v1/tasks", headers={"Authorization": ""})
    assert refusal(answer)[:2] == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Host", "Origin"])
def test_a_stranger_is_denied(api: Api, header: str) -> None:
    answer = api.request("GET", "/api/v1/tasks", headers={header: "http://evil.example"})
    assert refusal(answer)[:2] == (403, "permission_denied")


def test_every_fault_has_a_code_of_the_contract_with_its_status() -> None:
    for fault in faults():
        code = code_of(fault)
        known = {**BY_CONTRACT, **BEYOND}[code]
        more = HTTP_SAYS_MORE if code == "invalid_input" else set()
        assert STATUS[fault] in known | more, fault


def test_secrets_in_a_refused_request_are_not_repeated(api: Api) -> None:
    body = {"execution": {**TRUE, "env": {"K": "geheim-123", "A=": "geheim-123"}}}
    answer = api.request("POST", "/api/v1/tasks", body)
    assert answer.status == 400
    assert b"geheim-123" not in answer.body
