"""Copies of a worker's streams, over the loss of its server."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchglass.client.finding import Choice, find
from watchglass.server.cli.copying import Copier, LogCopy

from support.patience import PATIENCE_S
from support.serving import durable_server, environment
from support.shell import Shell


def test_what_is_left_is_copied_from_the_server_that_came_back(tmp_path: Path) -> None:
    copied: list[bytes] = []
    with durable_server(tmp_path, runtime_id="rt-copied") as place:
        with place.serving() as served:
            worker = Shell(served).create("--", "echo", "hello")
            Shell(served).wait_ended(worker)
            runtime = find(Choice(), environment(tmp_path))
            copies = {"stdout": LogCopy(worker, "stdout", copied.append)}
            copier = Copier(runtime, copies, lambda: pytest.fail("it gave up"))
            place.kill()
        with place.serving() as moved:
            assert moved.port != served.port
            copier.finish(patience_s=PATIENCE_S)  # Nobody woke it since.
    assert copied == [b"hello\n"]
