"""What the commands share that follow a worker: leaving, and telling what went wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from .faults import CliError, ExitCode, UsageFault

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.follower import Follower
    from watchglass.protocol.follow_all import Workers

Json = dict[str, Any]

WENT_WELL = frozenset({"succeeded", "stopped"})
"""The ends that are no failure: by itself with code 0, or because somebody asked."""


@contextmanager
def following(
    runtime: Found,
    worker: str | Workers,
    cursor: str | None,
    patience_s: float | None = None,
    *,
    types: Collection[str] = (),
) -> Iterator[Follower]:
    """A follower of one worker, or of many; what a feed raises becomes one line and an exit code."""
    from watchglass.client.follower import Follower
    from watchglass.client.journey import PATIENCE_S, SUBPROTOCOLS
    from watchglass.protocol.errors import CursorMalformed
    from watchglass.protocol.said import FeedRefused, FeedViolation

    try:
        patience_s = PATIENCE_S if patience_s is None else patience_s
        with Follower(
            runtime.again,
            worker,
            cursor=cursor,
            types=types,
            subprotocols=() if isinstance(worker, str) else SUBPROTOCOLS,
            patience_s=patience_s,
        ) as follower:
            yield follower
    except CursorMalformed as fault:
        raise UsageFault(f"{fault}; or use 'earliest' or 'latest'") from None
    except FeedRefused as fault:
        gone = fault.code == "runtime.worker_not_found"
        raise CliError(fault.message, ExitCode.NOT_FOUND if gone else ExitCode.FAILED) from None
    except FeedViolation as fault:
        whose = worker if isinstance(worker, str) else "the runtime"
        raise CliError(f"the feed of {whose} cannot be trusted: {fault}") from fault


@contextmanager
def on_signals(handler: Callable[[int], None], *numbers: signal.Signals) -> Iterator[None]:
    """Have `handler` called for these signals within the block, and as before after it.

    It runs between any two steps of the main thread, so it may set a flag or
    call `Follower.leave`, but must not print or wait.
    """

    def called(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - The signature is Python's.
        handler(number)

    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # As by nohup.
    before = {number: signal.signal(number, called) for number in heeded}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def leaving_on_interrupt(follower: Follower) -> Iterator[list[int]]:
    """Ctrl-C ends the iteration over `follower`; the list then has the signal. The second one interrupts."""
    seen: list[int] = []

    def leave(number: int) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        follower.leave()

    with on_signals(leave, signal.SIGINT):
        yield seen


def ended_code(phase: str | None) -> int:
    """The exit code of a command that saw a worker end in this phase."""
    return ExitCode.OK if phase in WENT_WELL else ExitCode.FAILED


def own_code(ended: Json | None) -> int:
    """The exit code that a shell would show for a worker that ended so."""
    if ended is None:
        return ExitCode.FAILED
    if ended.get("signal") is not None:
        return 128 + int(ended["signal"])
    code = ended.get("code")
    return ExitCode.FAILED if code is None else int(code)
