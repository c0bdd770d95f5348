"""`run --task`, interrupted at a moment that no signal would hit twice."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.client.address import Address
from watchglass.client.finding import Choice, Found
from watchglass.client.http import Client
from watchglass.server.cli.tasking import run_task

NOWHERE = Address("http://127.0.0.1:1")


class Interrupted(Client):
    """Ctrl-C comes before anything was asked."""

    def post(self, *_: object, **__: object) -> dict[str, Any]:
        raise KeyboardInterrupt


def test_an_interrupt_before_there_is_a_task_kills_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_task(Found(NOWHERE, Choice(), {}), Interrupted(NOWHERE), {})
    assert capsys.readouterr() == ("", "")
