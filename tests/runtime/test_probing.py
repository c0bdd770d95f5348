"""What the host can do is found out once for all who ask, and a failed look takes nothing away."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest

from watchglass.protocol.errors import LaunchFailed
from watchglass.runtime.capabilities import HostCapabilities
from watchglass.runtime.probing import Probing

from support.hosts import EVERYTHING, NOTHING
from support.tasks import soon, until

pytestmark = pytest.mark.asyncio


class Asked:
    """Probes that wait to be answered."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[HostCapabilities]] = []

    async def __call__(self) -> HostCapabilities:
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    async def answer(self, settle: Callable[[asyncio.Future[HostCapabilities]], None]) -> None:
        """Settle the newest probe, when it runs."""
        await until(lambda: bool(self.answers) and not self.answers[-1].done())
        settle(self.answers[-1])


async def test_those_who_ask_while_a_probe_runs_share_it() -> None:
    asked = Asked()
    probing = Probing(asked)
    callers = [asyncio.create_task(probing.again()) for _ in range(3)]
    await asked.answer(lambda answer: answer.set_result(EVERYTHING))
    assert await soon(asyncio.gather(*callers)) == [EVERYTHING] * 3
    assert len(asked.answers) == 1
    assert probing.capabilities is EVERYTHING


async def test_a_caller_that_leaves_does_not_take_the_probe_with_it() -> None:
    asked = Asked()
    probing = Probing(asked)
    impatient, patient = (asyncio.create_task(probing.again()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asked.answer(lambda answer: answer.set_result(EVERYTHING))
    assert await soon(patient) is EVERYTHING


async def test_a_probe_that_fails_leaves_what_was_known() -> None:
    asked = Asked()
    probing = Probing(asked)
    for settle in (
        lambda answer: answer.set_result(NOTHING),
        lambda answer: answer.set_exception(LaunchFailed("probe", "host", errno.ETIMEDOUT)),
    ):
        caller = asyncio.create_task(probing.again())
        await asked.answer(settle)
        await asyncio.wait([caller])
    with pytest.raises(LaunchFailed, match="ETIMEDOUT"):
        await caller
    assert probing.capabilities is NOTHING


async def test_a_first_probe_that_fails_ends_the_wait_and_nothing_is_known() -> None:
    asked = Asked()
    probing = Probing(asked)
    probing.start()
    waiting = asyncio.create_task(probing.wait_known())
    await asked.answer(lambda answer: answer.set_exception(LaunchFailed("probe", "host", errno.ETIMEDOUT)))
    await soon(waiting)
    assert probing.capabilities == HostCapabilities()


async def test_a_host_that_is_known_is_not_looked_at_until_somebody_asks() -> None:
    asked = Asked()
    probing = Probing(asked, EVERYTHING)
    probing.begin()
    await soon(probing.wait_known())
    assert probing.capabilities is EVERYTHING
    assert asked.answers == []
    caller = asyncio.create_task(probing.again())
    await asked.answer(lambda answer: answer.set_result(NOTHING))
    assert await soon(caller) is NOTHING
    assert probing.capabilities is NOTHING


async def test_after_the_end_no_probe_is_left() -> None:
    probing = Probing(Asked())
    task = probing.start()
    await probing.close()
    assert task.cancelled()
    await probing.close()
