"""A group that was named and cannot be used is told, and nothing else is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.cgroup_root import telling

from support.hosts import EVERYTHING, NOTHING

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("host", "root", "told"),
    [
        (NOTHING, "/agents", ["no worker is held in control groups: --cgroup-root /agents: not here"]),
        (EVERYTHING, "/agents", []),
        (NOTHING, None, []),
    ],
)
async def test_what_is_wrong_with_the_root_is_logged_at_each_probe(
    host: HostCapabilities, root: str | None, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def probe() -> HostCapabilities:
        return host

    asked = telling(probe, None if root is None else Path(root))
    for _ in range(2):
        assert await asked() is host
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, text) for text in told * 2
    ]
