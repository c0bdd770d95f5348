"""The interface tells the truth about itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from watchglass.protocol.errors import faults
from watchglass.server.auth import OPEN_PATHS
from watchglass.server.errors import STATUS
from watchglass.server.tasks_errors import code_of, is_ours

from support.inprocess import InProcess, listening

pytestmark = pytest.mark.asyncio

ENDPOINT = re.compile(r"^\| (GET|POST|DELETE) \| `(/[^`]*)` \|", re.MULTILINE)
NOT_IN_THE_DOCUMENT = {("GET", "/openapi.json"), ("GET", "/docs")}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[InProcess]:
    async with listening() as server:
        yield server


async def document(server: InProcess) -> dict[str, Any]:
    told: dict[str, Any] = (await server.ask("GET", "/openapi.json", None, {})).json
    return told


def operations(told: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


async def test_it_has_every_endpoint_of_the_docs_and_no_other(server: InProcess) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "http.md").read_text()
    told = {(method, path) for method, path, _ in operations(await document(server))}
    assert told == set(ENDPOINT.findall(page)) - NOT_IN_THE_DOCUMENT


async def test_every_reference_leads_to_a_model(server: InProcess) -> None:
    told = await document(server)
    named = set(
        re.findall(r"#/components/schemas/(\w+)", (await server.ask("GET", "/openapi.json")).content.decode())
    )
    assert named <= set(told["components"]["schemas"])


async def test_every_id_in_a_path_has_its_form_and_its_bound(server: InProcess) -> None:
    for _, path, operation in operations(await document(server)):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path" and parameter["name"].endswith("_id"):
                pattern, longest = parameter["schema"]["pattern"], parameter["schema"]["maxLength"]
                for given, taken in {"a.B_9-": True, "a b": False, "\xe9": False, "a/b": False}.items():
                    assert bool(re.search(pattern, given)) == taken, (path, given)
                assert (await server.ask("GET", f"/v1/workers/{'x' * longest}")).status == 404
                assert (await server.ask("GET", f"/v1/workers/{'x' * (longest + 1)}")).status == 400


async def test_what_chooses_a_shape_is_required_as_it_is(server: InProcess) -> None:
    told = (await document(server))["components"]["schemas"]
    for model in ("AssistantIntent", "TaskIntent", "DefaultProfile", "NamedProfile"):
        assert "kind" in told[model]["required"], model
    refused = await server.ask("POST", "/v1/workers", {"intent": {}})
    assert (refused.status, refused.code) == (400, "invalid_request")


async def test_every_refusal_has_a_code_of_ours_with_its_status(server: InProcess) -> None:
    by_code = {fault.code: STATUS[fault] for fault in faults()}
    spoken: dict[str, set[int]] = {}
    for fault in faults():
        spoken.setdefault(code_of(fault), set()).add(STATUS[fault])
    for _, path, operation in operations(await document(server)):
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            codes = answer["content"]["application/json"]["schema"]["x-codes"]
            if is_ours(path):
                assert all(int(status) in spoken[code] for code in codes), (path, status, codes)
                continue
            expected = {503} if path == "/readyz" and status == "503" else {by_code[code] for code in codes}
            assert expected == {int(status)}, (path, status, codes)


async def test_what_needs_a_token_says_so(server: InProcess) -> None:
    told = await document(server)
    for method, path, operation in operations(told):
        assert operation["security"] == ([] if path in OPEN_PATHS else [{"local_token": []}])
        if path not in OPEN_PATHS and "{" not in path:
            assert (await server.ask(method, path, b"", {})).status == 401
    assert told["components"]["securitySchemes"]["local_token"]["scheme"] == "bearer"


async def test_every_operation_has_its_own_name_and_a_sentence(server: InProcess) -> None:
    told = list(operations(await document(server)))
    names = [operation["operationId"] for _, _, operation in told]
    assert len(set(names)) == len(names)
    assert all(operation["summary"].endswith(".") for _, _, operation in told)


async def test_the_page_fetches_nothing_and_shows_every_endpoint(server: InProcess) -> None:
    answer = await server.ask("GET", "/docs", None, {})
    page = answer.content.decode()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://", page)
    for path in (await document(server))["paths"]:
        assert path in page
