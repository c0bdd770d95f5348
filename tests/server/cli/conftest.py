"""One real server for all tests of the command line that need no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.serving import serving
from support.shell import Shell


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with serving(tmp_path_factory.mktemp("state"), afresh=True) as served:
        yield Shell(served)
