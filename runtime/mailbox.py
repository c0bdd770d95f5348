"""What callers ask of a worker's driver, in order of arrival.

An ask is an act and who waits for its answer. The act is run by the driver, in
its turn and to its end; a caller that is cancelled meanwhile takes nothing back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from watchglass.protocol.errors import RuntimeFault

T = TypeVar("T")


@dataclass(slots=True)
class Ask:
    """One act, and its answer to come."""

    act: Callable[[], Awaitable[object]]
    _answer: asyncio.Future[object]

    def answer(self, result: object) -> None:
        """Tell what the act came to."""
        if not self._answer.done():
            self._answer.set_result(result)

    def refuse(self, fault: RuntimeFault) -> None:
        """Tell why it came to nothing."""
        if not self._answer.done():
            self._answer.set_exception(fault)
            self._answer.exception()  # Seen: the caller may have been cancelled.


class Mailbox:
    """The asks that a driver has not begun."""

    __slots__ = ("_asks", "_wake")

    def __init__(self, wake: asyncio.Event) -> None:
        """`wake` is set with each ask."""
        self._asks: deque[Ask] = deque()
        self._wake = wake

    def __bool__(self) -> bool:
        return bool(self._asks)

    def put(self, act: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Have an act run; what it returns or raises is the future's."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asks.append(Ask(act, answer))  # type: ignore[arg-type]  # The pair shares its T.
        self._wake.set()
        return answer

    def take(self) -> Ask:
        """The oldest ask; there must be one."""
        return self._asks.popleft()
