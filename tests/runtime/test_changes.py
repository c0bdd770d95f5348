"""A change that was begun runs to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from watchglass.protocol.errors import WorkerNotFound
from watchglass.runtime.changes import Changes

from support.tasks import begun, soon

pytestmark = pytest.mark.asyncio


class Change:
    """A change that goes on when it is let."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.is_done = False

    async def run(self) -> str:
        await self.go_on.wait()
        self.is_done = True
        return "done"


async def test_a_caller_gets_what_the_change_comes_to() -> None:
    changes, change = Changes(), Change()
    change.go_on.set()
    assert await soon(changes.finish(change.run())) == "done"


async def test_a_cancelled_caller_does_not_take_the_change_with_it() -> None:
    changes, change = Changes(), Change()
    caller = await begun(changes.finish(change.run()))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    change.go_on.set()
    await soon(changes.wait_idle())
    assert change.is_done


async def test_idle_means_that_no_change_is_under_way_not_even_one_begun_meanwhile() -> None:
    changes, first, second = Changes(), Change(), Change()

    async def first_begins_second() -> None:
        await first.run()
        changes.start(second.run())

    changes.start(first_begins_second())
    idle = await begun(changes.wait_idle())
    first.go_on.set()
    await asyncio.sleep(0)
    assert not idle.done()
    second.go_on.set()
    await soon(idle)
    assert second.is_done


async def test_without_changes_it_is_idle() -> None:
    await soon(Changes().wait_idle())


async def refuse() -> None:
    raise WorkerNotFound("w")


async def fail() -> None:
    raise ZeroDivisionError


async def test_a_refusal_reaches_the_caller() -> None:
    with pytest.raises(WorkerNotFound):
        await soon(Changes().finish(refuse()))


async def test_a_refusal_that_nobody_waits_for_is_no_news_and_a_bug_goes_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = Changes()
    with caplog.at_level(logging.ERROR):
        changes.start(refuse())
        await soon(changes.wait_idle())
        assert caplog.records == []
        changes.start(fail())
        await soon(changes.wait_idle())
    [told] = caplog.records
    assert told.exc_info is not None
    assert told.exc_info[0] is ZeroDivisionError
