"""Health, readiness, metrics, and an OpenAPI document that is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from watchglass import __version__
from watchglass.protocol import runtime as runtime_models
from watchglass.protocol import workers as worker_models
from watchglass.protocol.errors import faults
from watchglass.protocol.events import AppendEventsAnswer

from support.api import Api
from support.feed import UPGRADE

FLAGS = ["--runtime-id=rt-health"]
AFRESH = True

ROOT = Path(__file__).parent.parent.parent
OPEN = {"/openapi.json", "/docs"}


def documented() -> set[tuple[str, str]]:
    """The table of docs/http.md."""
    rows = re.findall(r"^\| (GET|POST|DELETE) \| `([^`]+)` \|", (ROOT / "docs" / "http.md").read_text(), re.M)
    assert len(rows) > 20
    return {(method.lower(), path) for method, path in rows}


@pytest.fixture(scope="module")
def openapi(served: Any) -> Any:
    return Api(served).get("/openapi.json")


def test_a_healthy_server_says_so_with_its_version(api: Api) -> None:
    assert api.get("/healthz") == {"status": "ok", "version": __version__}
    assert api.get("/readyz") == {"status": "ready", "version": __version__}


def test_metrics_are_prometheus_text_and_count(api: Api) -> None:
    def sample(name: str, **labels: str) -> float:
        answer = api.request("GET", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(answer.body.decode())
        found = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) == 1, (name, labels)
        return found[0]

    running, slots = sample("watchglass_workers", status="running"), sample("watchglass_slots_reserved")
    created = sample("watchglass_workers_created_total")
    worker_id = api.create("cat")["worker_id"]
    assert sample("watchglass_workers", status="running") == running + 1
    assert sample("watchglass_slots_reserved") == slots + 1
    assert sample("watchglass_workers_created_total") == created + 1
    assert sample("watchglass_runtime_running") == 1
    api.act(worker_id, "stop")
    assert sample("watchglass_workers", status="running") == running
    assert sample("watchglass_slots_reserved") == slots


def test_metrics_have_help_and_no_worker_ids(api: Api) -> None:
    worker_id = api.create()["worker_id"]
    text = api.request("GET", "/metrics").body.decode()
    assert worker_id not in text
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name


def test_openapi_has_every_endpoint_of_the_docs_and_no_other(openapi: Any) -> None:
    paths = {(method, path) for path, methods in openapi["paths"].items() for method in methods}
    assert paths == {(method, path) for method, path in documented() if path not in OPEN}


def test_every_endpoint_of_the_docs_is_there(api: Api) -> None:
    for method, path in documented():
        filled = re.sub(r"{(worker|task)_id}", "nobody", path).replace("{stream}", "stdout")
        body = b"{" if filled.endswith("/drain") else None  # The server is wanted for the next tests.
        answer = api.request(
            method.upper(), filled, body, headers=UPGRADE if filled.endswith("/ws") else None
        )
        if answer.headers["content-type"].startswith("application/json") and answer.status >= 400:
            error = answer.json["error"]
            fault = error["details"]["fault"] if path.startswith("/api/v1/") else error["code"]
            assert fault not in {"not_found", "method_not_allowed"}, (method, path)


def test_openapi_is_well_formed(openapi: Any) -> None:
    assert openapi["openapi"].startswith("3.")
    assert openapi["info"]["version"] == __version__
    schemas = openapi["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/([A-Za-z0-9_]+)", str(openapi)))
    assert references <= set(schemas)
    operations = [operation for methods in openapi["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations)


def test_openapi_names_the_codes_that_the_docs_name(openapi: Any) -> None:
    told = {
        code
        for methods in openapi["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for code in re.findall(r"[a-z_]+", response["description"])
    }
    provoked = {fault.code for fault in faults()} - {
        "not_found",  # No endpoint has these.
        "method_not_allowed",
        "tls_required",
        "cursor_malformed",  # The feed says these in diagnostics.
        "cursor_unknown_or_expired",
        "task_not_found",  # Below /api/v1 it is `not_found`.
        "store_missing",  # The memory store reads nothing back.
        "store_corrupt",
        "unknown_method",  # Of the commands of a session.
        "not_on_session",
    }
    assert provoked <= told, provoked - told


@pytest.mark.parametrize(
    ("model", "method", "path", "body"),
    [
        (runtime_models.RuntimeAnswer, "GET", "/v1/runtime", None),
        (runtime_models.DiagnosticsAnswer, "GET", "/v1/diagnostics", None),
        (runtime_models.RuntimeEventBatch, "GET", "/v1/events/batch", None),
        (runtime_models.HealthAnswer, "GET", "/healthz", None),
        (runtime_models.ReadyAnswer, "GET", "/readyz", None),
        (worker_models.WorkersAnswer, "GET", "/v1/workers", None),
        (worker_models.WorkerAnswer, "POST", "/v1/workers", {"execution": {"program": "cat"}}),
        (worker_models.WorkerAnswer, "GET", "/v1/workers/modelled", None),
        (worker_models.InteractionAnswer, "POST", "/v1/workers/modelled/input", {"content": "x"}),
        (AppendEventsAnswer, "POST", "/v1/workers/modelled/events", {"events": [{"event": "e"}]}),
        (worker_models.TranscriptAnswer, "GET", "/v1/workers/modelled/transcript", None),
        (worker_models.ExplanationAnswer, "GET", "/v1/workers/modelled/explain", None),
        (worker_models.LifecycleAnswer, "POST", "/v1/workers/modelled/stop", None),
    ],
)
def test_answers_are_what_the_models_say(
    api: Api, model: type[BaseModel], method: str, path: str, body: Any
) -> None:
    if "modelled" in path:
        api.request("POST", "/v1/workers", {"worker_id": "modelled"})
    answer = api.request(method, path, body)
    assert answer.status == 200, answer
    parsed = model.model_validate_json(answer.body)
    assert parsed.model_dump(mode="json") == answer.json
