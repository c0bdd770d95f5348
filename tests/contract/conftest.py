"""One server a module: `FLAGS` of the module are its flags."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.api import Api
from support.serving import Served, serving


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("state"), *getattr(request.module, "FLAGS", ())) as server:
        yield server


@pytest.fixture
def api(served: Served) -> Api:
    return Api(served)
