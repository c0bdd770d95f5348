"""Every refusal, over a real socket: its status, its code, and the value at fault in its message."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from watchglass.protocol.errors import faults

from support.api import Api

FLAGS = ["--runtime-id=rt-errors"]

HERE = Path(__file__).parent
PASSIVE, ENDED, RUNNING = "passive", "ended", "running"
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that must be refused, and how."""

    code: str
    status: int
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] | None = None
    chunks: Sequence[bytes] | None = None
    says: str = ""


def refused(
    code: str,
    status: int,
    request: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    chunks: Sequence[bytes] | None = None,
    says: str = "",
) -> Refusal:
    method, _, path = request.partition(" ")
    return Refusal(
        code=code,
        status=status,
        method=method,
        path=path,
        body=body,
        headers=headers,
        chunks=chunks,
        says=says,
    )


CREATE = "POST /v1/workers"
INPUT = f"POST /v1/workers/{PASSIVE}/input"
STOP = f"POST /v1/workers/{PASSIVE}/stop"
EVENTS = f"POST /v1/workers/{PASSIVE}/events"
FOREIGN = {"runtime_id": "rt-other", "worker_id": PASSIVE}


def invalid_json() -> Iterator[Refusal]:
    for request in (CREATE, INPUT, EVENTS, f"POST /v1/workers/{RUNNING}/signal"):
        for body in (b"", b"{", b'{"intent": ', b"not json", b'{"a": "\xff\xfe"}', b"{}x"):
            yield refused("invalid_json", 400, request, body, says="JSON")
    yield refused("invalid_json", 400, STOP, b"{", says="JSON")
    for number in (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"01",
        b'"\\ud800"',
        b"[" * 5000 + b"]" * 5000,
    ):
        body = b'{"events": [{"event": "e", "data": {"n": %b}}]}' % number
        yield refused("invalid_json", 400, EVENTS, body, says="JSON")


def invalid_requests() -> Iterator[Refusal]:
    def create(says: str, **body: Any) -> Refusal:
        return refused("invalid_request", 400, CREATE, body, says=says)

    for wrong in (b"[]", b'"text"', b"3", b"null"):
        yield refused("invalid_request", 400, CREATE, wrong)
    yield create("intent", intent="assistant")
    yield create("intent", intent={"kind": "overlord"})
    yield create("objective", intent={"kind": "task"})
    yield create("objective", intent={"kind": "task", "objective": " \t"})
    yield create("role", intent={"kind": "role", "role": ""})
    yield create("profile", profile={"kind": "builtin"})
    yield create("profile", profile={"kind": "named", "value": " "})
    yield create("config_bundle", config_bundle={"id": ""})
    yield create("requested_capabilities.0.name", requested_capabilities=[{"name": "  "}])
    yield create("requested_capabilities", requested_capabilities="web")
    yield create("workspace_refs.0.reference", workspace_refs=[{"name": "a"}])
    yield create("worker_id", worker_id="")
    yield create("worker_id", worker_id="a b")
    yield create("worker_id", worker_id="../up")
    yield create("worker_id", worker_id="x" * 129)
    yield create("worker_id", worker_id=7)
    yield create("speech", speech="latin")
    yield create("metadata", metadata={"a": 1})
    yield create("metadata", metadata={str(number): "v" for number in range(65)})
    yield create("initial_input", initial_input={"kind": "user", "content": " "})
    yield create("limits.wall_time_ms", limits={"wall_time_ms": 0})
    yield create("limits.wall_time_ms", limits={"wall_time_ms": "1"})
    yield create("limits.memory_bytes", limits={"memory_bytes": -1})
    yield create("sandbox", sandbox={"profile": "bubble"})
    yield create("policy", policy={"capability_mode": "maybe"})
    yield create("execution", execution={"kind": "command"})
    yield create("execution", execution={"program": " "})
    yield create("execution.program", execution={"program": 5})
    yield create("execution", execution={"program": "a\0b"})
    yield create("execution.args", execution={"program": "a", "args": "b"})
    yield create("131072", execution={"program": "a", "args": ["x" * 131_072]})
    yield create("131072", execution={"program": "a", "env": {"A": "x" * 131_072}})
    yield create("execution.env", execution={"program": "a", "env": {"A=B": "x"}})
    yield create("execution.cwd", execution={"program": "a", "cwd": "relative"})
    for kind in ("command", "script"):
        yield create("execution", execution={"kind": kind, "program": "a", "script": "b"})
    yield refused("invalid_request", 400, INPUT, {}, says="content")
    yield refused("invalid_request", 400, INPUT, {"kind": "user", "content": ""}, says="content")
    yield refused("invalid_request", 400, INPUT, {"kind": "user", "content": " \n\t"}, says="content")
    yield refused("invalid_request", 400, INPUT, {"kind": "robot", "content": "x"}, says="kind")
    yield refused("invalid_request", 400, INPUT, {"kind": "user", "content": 4}, says="content")
    yield refused(
        "invalid_request", 400, INPUT, {"kind": "user", "content": "x" * 262_145}, says="262144 is the most"
    )
    yield refused("invalid_request", 400, INPUT, {"content": "x", "worker_ref": {"runtime_id": "rt-errors"}})
    yield refused(
        "invalid_request",
        400,
        INPUT,
        {"content": "x", "worker_ref": {"runtime_id": "rt-errors", "worker_id": "somebody-else"}},
        says="somebody-else",
    )
    yield refused("invalid_request", 400, STOP, {"reason": 3}, says="reason")
    yield refused("invalid_request", 400, EVENTS, {"events": []}, says="events")
    yield refused("invalid_request", 400, EVENTS, {"events": [{"event": " "}]}, says="events.0.event")
    yield refused("invalid_request", 400, EVENTS, {"events": [{"event": "end"}]}, says="end")
    yield refused(
        "invalid_request", 400, EVENTS, {"events": [{"event": "text_delta", "data": {}}]}, says="text"
    )
    yield refused("invalid_request", 400, EVENTS, {"events": [{"event": "e"}] * 10_001}, says="10000")
    for worker in (ENDED, RUNNING):
        yield refused(
            "invalid_request",
            400,
            f"POST /v1/workers/{worker}/events",
            {"events": [{"event": "e"}]},
            says=worker,
        )
    for what, body in {
        "input": {"content": "x"},
        "interrupt": None,
        "close-stdin": None,
        "signal": {"signal": "SIGUSR1"},
    }.items():
        yield refused("invalid_request", 400, f"POST /v1/workers/{ENDED}/{what}", body, says=ENDED)
        if what != "input":
            yield refused("invalid_request", 400, f"POST /v1/workers/{PASSIVE}/{what}", body, says=PASSIVE)
    yield refused(
        "invalid_request", 400, f"POST /v1/workers/{RUNNING}/signal", {"signal": "SIGNAL"}, says="SIGNAL"
    )
    yield refused("invalid_request", 400, f"POST /v1/workers/{RUNNING}/signal", {}, says="signal")
    yield refused("invalid_request", 400, f"GET /v1/workers/{PASSIVE}/logs/stdout", says=PASSIVE)
    for key in (" ", "k" * 256):
        yield refused(
            "invalid_request", 400, CREATE, {}, headers={"Idempotency-Key": key}, says="Idempotency-Key"
        )


def invalid_queries() -> Iterator[Refusal]:
    for query in ("start=-1", "start=x", "limit=-1", "limit=1.5", "start=", "start=1&start=2"):
        name = query.partition("=")[0]
        yield refused("invalid_query", 400, f"GET /v1/workers/{PASSIVE}/transcript?{query}", says=name)
    for query in ("status=asleep", "phase=asleep", "limit=0", "limit=x", "label=nothing", "after=nobody"):
        name, _, value = query.partition("=")
        refusal = refused("invalid_query", 400, f"GET /v1/workers?{query}", says=name)
        yield refusal
        yield refused("invalid_query", 400, f"GET /v1/workers?{query}", says=value)
    for query in ("cursor=x", "cursor=", "limit=0", "limit=x", "cursor=%7B%7D"):
        yield refused("invalid_query", 400, f"GET /v1/events/batch?{query}", says=query.partition("=")[0])
    for query in ("offset=-1", "offset=x", "limit=0"):
        yield refused("invalid_query", 400, f"GET /v1/workers/{RUNNING}/logs/stdout?{query}")


def too_large() -> Iterator[Refusal]:
    yield refused("limit_too_large", 400, f"GET /v1/workers/{PASSIVE}/transcript?limit=257", says="256")
    yield refused("limit_too_large", 400, "GET /v1/events/batch?limit=257", says="256")
    padding = b'{"padding": "' + b"x" * MIB + b'"}'
    for request in (CREATE, INPUT, STOP):
        yield refused("body_too_large", 413, request, padding, says="1048576")
        yield refused(
            "body_too_large",
            413,
            request,
            chunks=[padding[start : start + 65_536] for start in range(0, len(padding), 65_536)],
        )


def names_nothing() -> Iterator[Refusal]:
    for request in (
        "GET /v1/workers/nobody",
        "DELETE /v1/workers/nobody",
        "GET /v1/workers/nobody/transcript",
        "GET /v1/workers/nobody/explain",
        "GET /v1/workers/nobody/logs/stdout",
    ):
        yield refused("worker_not_found", 404, request, says="nobody")
    for what, body in {
        "input": {"content": "x"},
        "stop": None,
        "cancel": None,
        "interrupt": None,
        "close-stdin": None,
        "signal": {"signal": "SIGUSR1"},
        "events": {"events": [{"event": "e"}]},
    }.items():
        yield refused("worker_not_found", 404, f"POST /v1/workers/nobody/{what}", body, says="nobody")
    for path in ("/", "/v1", "/v2/workers", "/v1/worker", "/v1/workers/", f"/v1/workers/{PASSIVE}/mood"):
        yield refused("not_found", 404, f"GET {path}", says=path)
    yield refused("not_found", 404, f"GET /v1/workers/{RUNNING}/logs/stdin")
    for request in ("PUT /v1/workers", "DELETE /v1/workers", "GET /v1/workers/x/stop", "POST /v1/runtime"):
        yield refused("method_not_allowed", 405, request, says=request.partition(" ")[0])
    for worker_id in ("%20", "a%20b", "x" * 129, "a%2Fb%21", "%00", "caf%C3%A9"):
        yield refused("invalid_worker_id", 400, f"GET /v1/workers/{worker_id}")


def wrong_runtimes() -> Iterator[Refusal]:
    for what, body in {
        "input": {"content": "x"},
        "stop": {},
        "cancel": {},
        "interrupt": {},
        "close-stdin": {},
        "signal": {"signal": "SIGUSR1"},
    }.items():
        yield refused(
            "wrong_runtime",
            400,
            f"POST /v1/workers/{PASSIVE}/{what}",
            {**body, "worker_ref": FOREIGN},
            says="rt-other",
        )
    yield refused(
        "wrong_runtime",
        400,
        CREATE,
        {"initial_input": {"content": "x", "worker_ref": FOREIGN}},
        says="rt-other",
    )


def launches() -> Iterator[Refusal]:
    def launch(says: str, **execution: Any) -> Refusal:
        return refused(
            "launch_failed", 400, CREATE, {"worker_id": "never", "execution": execution}, says=says
        )

    yield launch("No such file or directory", program="/no/such/program")
    yield launch("no-such-program", program="no-such-program-anywhere")
    yield launch("Permission denied", program="/etc/passwd")
    yield launch("Permission denied", program="/etc")
    yield launch("/no/such/folder", program="true", cwd="/no/such/folder")
    yield launch("ENOTDIR", program="true", cwd="/etc/hostname")
    yield launch("/no/such/shell", kind="script", script="true", interpreter=["/no/such/shell"])


def unsupported() -> Iterator[Refusal]:
    strict: Any = {"policy": {"capability_mode": "strict"}, "execution": {"program": "true"}}
    wanted: dict[str, Any] = {
        "sandbox.rootfs": {"sandbox": {"rootfs": "/srv/root"}},
        "sandbox.namespaces.mount": {"sandbox": {"namespaces": {}}},
    }
    for says, asked in wanted.items():
        yield refused("unsupported_capability", 400, CREATE, {**strict, **asked}, says=says)
    proxy = {"network": "proxy", "network_allow": ["pypi.org:443"]}
    yield refused(
        "unsupported_capability",
        400,
        CREATE,
        {"execution": {"program": "true"}, "sandbox": proxy},
        says="sandbox.network",
    )
    yield refused(
        "unsupported_capability",
        400,
        CREATE,
        {"execution": {"program": "true"}, "control_context": {"requires_strict_sandbox": True}},
        says="requires_strict_sandbox",
    )


def others() -> Iterator[Refusal]:
    yield refused("worker_exists", 409, CREATE, {"worker_id": PASSIVE}, says=PASSIVE)
    for worker in (PASSIVE, RUNNING):
        yield refused("worker_active", 409, f"DELETE /v1/workers/{worker}", says=worker)
        yield refused("worker_active", 409, f"GET /v1/workers/{worker}/export", says=worker)
    yield refused("archive_invalid", 400, "POST /v1/workers/import", b"", says="cut off")
    yield refused("archive_invalid", 400, "POST /v1/workers/import", b"x" * 600, says="no header")
    yield refused("archive_invalid", 400, "POST /v1/workers/import", chunks=[b"x" * 600], says="no header")
    yield refused(
        "range_not_satisfiable", 416, f"GET /v1/workers/{RUNNING}/logs/stdout?offset=999", says="offset 999"
    )
    yield refused(
        "range_not_satisfiable",
        416,
        f"GET /v1/workers/{RUNNING}/logs/stdout",
        headers={"Range": "bytes=999-"},
        says="999",
    )
    for authorization in ("", "Bearer", "Bearer wrong", "Basic d3Jvbmc6", "wrong"):
        yield refused("unauthorized", 401, "GET /v1/runtime", headers={"Authorization": authorization})
    yield refused("unauthorized", 401, "GET /no/such/path", headers={"Authorization": ""})
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1:1"):
        yield refused("forbidden_host", 403, "GET /healthz", headers={"Host": host}, says=host)
    for origin in ("http://evil.example", "null", "http://127.0.0.1", "http://localhost:3000"):
        yield refused("forbidden_origin", 403, "GET /v1/runtime", headers={"Origin": origin}, says=origin)


TABLE = [
    *invalid_json(),
    *invalid_requests(),
    *invalid_queries(),
    *too_large(),
    *names_nothing(),
    *wrong_runtimes(),
    *launches(),
    *unsupported(),
    *others(),
]

ELSEWHERE = {
    "task_not_found": "tasks/test_refusals.py::test_nobody_is_not_found",
    "tls_required": "../server/test_secure_streams.py::test_plain_http_is_told_that_tls_is_spoken_here",
    "permission_denied": "tasks/test_kill.py::test_a_task_with_an_owner_is_killed_by_its_owner_alone",
    "wrong_runtime_cursor": "test_runtime_events.py::test_a_cursor_of_another_runtime_is_refused",
    "idempotency_conflict": "test_idempotency.py::test_the_same_key_with_another_request_is_refused",
    "insufficient_resources": "test_capacity.py::test_more_than_there_is_is_refused_by_resource_and_bound",
    "input_backlog": "test_input.py::test_input_that_nobody_reads_is_refused_over_the_bound",
    "resource_limit_exceeded": "test_slots.py::test_a_full_queue_refuses_and_says_when_to_come_back",
    "sandbox_setup_failed": "test_sandbox.py::test_a_sandbox_that_fails_is_told_in_bubblewraps_words",
    "runtime_stopped": "test_shutdown.py::test_a_runtime_that_stops_refuses_changes_and_still_answers_reads",
    "insufficient_scope": "test_tokens.py::test_every_endpoint_is_answered_as_the_token_may",
    "not_on_session": "test_session.py::test_what_a_session_has_not_is_told_apart_from_what_there_is_not",
    "unknown_method": "test_session.py::test_what_a_session_has_not_is_told_apart_from_what_there_is_not",
    "transcript_expired": "test_retention.py::test_transcript_entries_behind_retention_are_refused",
    "cursor_expired": "test_retention.py::test_runtime_events_behind_retention_are_refused",
    "cursor_malformed": "test_feed_cursors.py::test_what_is_no_cursor_is_told_to_be_malformed",
    "cursor_unknown_or_expired": "test_feed_cursors.py::test_a_cursor_ahead_of_the_newest_event_is_refused",
}

NOT_FROM_OUTSIDE = {
    "store_io": "a disk would have to refuse the scratch folder",
    "store_missing": "the memory store reads nothing back",
    "store_corrupt": "the memory store reads nothing back",
    "state_poisoned": "a driver would have to have a bug",
    "internal": "it is our bug",
}


@pytest.fixture(scope="module", autouse=True)
def _workers(served: Any) -> None:
    api = Api(served)
    api.create(worker_id=PASSIVE)
    api.create("cat", worker_id=RUNNING)
    api.create(worker_id=ENDED)
    api.act(ENDED, "stop")


def shown(refusal: Refusal) -> str:
    body = "" if refusal.body is None else str(refusal.body)
    return f"{refusal.code} {refusal.method} {refusal.path[:40]} {body[:60]}"


@pytest.mark.parametrize("refusal", TABLE, ids=shown)
def test_a_wrong_request_is_refused_by_name(api: Api, refusal: Refusal) -> None:
    before = [worker["worker_id"] for worker in api.get("/v1/workers")["workers"]]
    answer = api.request(
        refusal.method, refusal.path, refusal.body, headers=refusal.headers, chunks=refusal.chunks
    )
    assert (answer.status, answer.code) == (refusal.status, refusal.code), answer
    assert refusal.says in answer.message
    assert "\n" not in answer.message
    assert len(answer.message) < 1000
    assert [worker["worker_id"] for worker in api.get("/v1/workers")["workers"]] == before


def test_a_refusal_of_the_token_says_which_scheme_is_wanted(api: Api) -> None:
    answer = api.request("GET", "/v1/runtime", headers={"Authorization": ""})
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_method_that_is_not_taken_is_told_which_ones_are(api: Api) -> None:
    answer = api.request("PUT", "/v1/workers")
    assert {method.strip() for method in answer.headers["allow"].split(",")} >= {"GET", "POST"}


def test_a_range_behind_the_end_is_told_how_long_the_log_is(api: Api) -> None:
    answer = api.request("GET", f"/v1/workers/{RUNNING}/logs/stdout?offset=999")
    assert answer.headers["content-range"] == "bytes */0"


def test_a_refused_worker_leaves_its_id_free(api: Api) -> None:
    answer = api.request("POST", "/v1/workers", {"worker_id": "again", "execution": {"program": "/no/such"}})
    assert answer.code == "launch_failed"
    assert api.create(worker_id="again")["worker_id"] == "again"
    api.act("again", "stop")


def test_a_missing_host_header_is_refused(api: Api) -> None:
    token = api.served.token.encode()
    answer = api.raw(b"GET /v1/runtime HTTP/1.0\r\nAuthorization: Bearer " + token + b"\r\n\r\n")
    assert answer.status in {400, 403}


@pytest.mark.parametrize(
    "request_line",
    [b"GARBAGE\r\n\r\n", b"GET /v1/runtime HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"],
)
def test_bytes_that_are_not_http_are_refused_and_the_server_goes_on(api: Api, request_line: bytes) -> None:
    assert api.raw(request_line).status in {400, 505}
    assert api.get("/healthz")["status"] == "ok"


def test_a_body_shorter_than_its_length_says_nothing_and_harms_nobody(api: Api) -> None:
    with socket.create_connection((api.served.host, api.served.port), 10) as connection:
        connection.sendall(
            b"POST /v1/workers HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: 100\r\n\r\n{}" % (api.served.port, api.served.token.encode())
        )
    assert api.get("/healthz")["status"] == "ok"


def test_secrets_in_a_refused_request_are_not_repeated(api: Api) -> None:
    secret = "geheim-456"
    for body in (
        {"execution": {"program": "a", "env": {"K": [secret]}}},
        {"execution": {"program": "a", "env": {"K": secret, "A=": secret}}},
        {"initial_input": {"kind": "robot", "content": secret}},
    ):
        answer = api.request("POST", "/v1/workers", body)
        assert answer.code == "invalid_request"
        assert secret.encode() not in answer.body


def test_every_code_is_provoked_here_or_cannot_be_from_outside() -> None:
    here = {refusal.code for refusal in TABLE}
    assert here.isdisjoint(ELSEWHERE)
    codes = {fault.code for fault in faults()}
    assert here | set(ELSEWHERE) | set(NOT_FROM_OUTSIDE) == codes


@pytest.mark.parametrize("test", ELSEWHERE.values())
def test_what_is_said_to_be_provoked_elsewhere_is(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((HERE / file).read_text())
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in found


def test_the_docs_list_every_code_with_its_status() -> None:
    table = (HERE.parent.parent / "docs" / "http.md").read_text()
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    documented = {
        (code.strip(" `"), row[2].strip())
        for row in rows
        if row[2].strip().isdigit()
        for code in row[1].split(",")
    }
    assert {(refusal.code, str(refusal.status)) for refusal in TABLE} <= documented
    assert {code for code, _ in documented} == {fault.code for fault in faults()}
