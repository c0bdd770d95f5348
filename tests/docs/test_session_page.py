"""docs/session.md tells every method, and what of the HTTP interface is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from watchglass.protocol.all_workers import CHOSEN_WORKERS_MAX
from watchglass.protocol.session import (
    ABSENT,
    CLOSES,
    COMMANDS_MAX,
    FRAME_BYTES_MAX,
    ID_CHARS_MAX,
    METHODS,
    ROUTE,
    SUBSCRIPTIONS_MAX,
    WAITS_MAX,
    Route,
)
from watchglass.server.queries import WAIT_MS_MAX
from watchglass.server.session import LARGE_AT_ONCE

from support.inprocess import listening

PAGE = (Path(__file__).parent.parent.parent / "docs" / "session.md").read_text()
ROW = re.compile(r"^\| `([a-z_.]+)` \| (GET|POST|DELETE) `(/[^`]*)` \|$", re.MULTILINE)


def table(text: str) -> dict[str, Route]:
    return {name: Route(method, path) for name, method, path in ROW.findall(text)}


def test_every_method_and_what_is_absent_is_in_the_docs() -> None:
    methods, absent = PAGE.split("These have no method", 1)
    assert table(methods) == METHODS
    assert table(absent) == ABSENT


@pytest.mark.asyncio
async def test_every_operation_of_the_http_interface_is_a_method_or_named_as_absent() -> None:
    async with listening() as server:
        told: dict[str, Any] = (await server.ask("GET", "/openapi.json", None, {})).json
    operations = {Route(method.upper(), path) for path, ways in told["paths"].items() for method in ways}
    assert operations - {Route("GET", ROUTE)} == {*METHODS.values(), *ABSENT.values()}


def test_the_bounds_are_in_the_docs() -> None:
    for number in (FRAME_BYTES_MAX, COMMANDS_MAX, SUBSCRIPTIONS_MAX):
        assert f"{number:,}" in PAGE
    assert f"| requests that wait | {WAITS_MAX:,} beside those;" in PAGE
    assert f"(at most {CHOSEN_WORKERS_MAX})" in PAGE
    assert f"`wait_ms` ({WAIT_MS_MAX:,} at most" in PAGE
    assert f"| {LARGE_AT_ONCE} at a time, the waiting" in PAGE
    assert f"at most {ID_CHARS_MAX} characters" in PAGE


def test_every_close_code_is_in_the_docs_with_its_diagnostic() -> None:
    documented = dict(re.findall(r"^\| (\d{4}) \| `([a-z._]+)`", PAGE, re.MULTILINE))
    assert documented == {str(close): code for code, close in CLOSES.items()}
