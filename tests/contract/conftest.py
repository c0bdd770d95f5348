"""One server a module: `FLAGS` of the module are its flags; with `AFRESH` it is started as a user's is.

A module with `WAYS` runs whole for each of them, with its flags added; one that is
slow and tells little more may be a `pytest.param` with the mark of the slow tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.api import Api
from support.serving import Served, serving


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    ways: dict[str, Any] = getattr(metafunc.module, "WAYS", {})
    if ways and "served" in metafunc.fixturenames:
        metafunc.parametrize("served", ways.values(), ids=list(ways), indirect=True, scope="module")


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    flags = [*getattr(request.module, "FLAGS", ()), *getattr(request, "param", ())]
    afresh = getattr(request.module, "AFRESH", False)
    with serving(tmp_path_factory.mktemp("state"), *flags, afresh=afresh) as server:
        yield server


@pytest.fixture
def api(served: Served) -> Api:
    return Api(served)
