"""What the commands share that follow a worker: leaving, and telling what went wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from .faults import CliError, ExitCode, UsageFault, option_worded
from .screens import loss_in_words
from .showing import note

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.follower import Follower, Loss
    from watchglass.protocol.follow import OnExpired
    from watchglass.protocol.follow_all import Workers
    from watchglass.protocol.said import FeedRefused

Json = dict[str, Any]

MOMENT_S: Final = 0.2
"""A reader who comes back sooner need not be told; a runtime that leaves asks for more (`retry_after_ms`)."""

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
    on_expired: OnExpired = "close",
    before_note: Callable[[], None] | None = None,
) -> Iterator[Follower]:
    """A follower of one worker, or of many; what a feed raises becomes one line and an exit code.

    Why nothing comes is told to the person who looks; `before_note` makes room for that.
    """
    from watchglass.client.follower import Follower
    from watchglass.client.journey import PATIENCE_S
    from watchglass.protocol.errors import CursorMalformed
    from watchglass.protocol.said import FeedRefused, FeedViolation

    patience_s = PATIENCE_S if patience_s is None else patience_s
    try:
        with Follower(
            runtime.again,
            worker,
            cursor=cursor,
            types=types,
            on_expired=on_expired,
            patience_s=patience_s,
            on_loss=LossNotes(before_note),
        ) as follower:
            yield follower
    except CursorMalformed as fault:
        raise UsageFault(f"{fault}; or use 'earliest', 'latest', 'tail:N' or 'time:RFC3339'") from None
    except FeedRefused as fault:
        raise refused(fault, on_expired) from None
    except FeedViolation as fault:
        whose = worker if isinstance(worker, str) else "the runtime"
        raise CliError(f"the feed of {whose} cannot be trusted: {fault}") from fault


def refused(fault: FeedRefused, on_expired: OnExpired) -> CliError:
    """A feed's last word, in ours."""
    if fault.is_loss:
        what = loss_in_words(fault.details) if fault.details else fault.message
        way = (
            "begin again with '--cursor earliest', or go on with '--on-expired snapshot'"
            if on_expired == "close"
            else "this runtime speaks version 1 of the feed, which knows no reset; use '--cursor earliest'"
        )
        return CliError(f"{what}; {way}", ExitCode.EXPIRED)
    if fault.code in _MALFORMED:
        return UsageFault(option_worded(fault.message))
    gone = fault.code == "runtime.worker_not_found"
    return CliError(fault.message, ExitCode.NOT_FOUND if gone else ExitCode.FAILED)


_MALFORMED: Final = frozenset({"runtime.cursor_malformed", "runtime.query_malformed"})


class LossNotes:
    """Says why nothing comes, once for each reason, when it takes longer than a moment."""

    def __init__(self, before_note: Callable[[], None] | None = None) -> None:
        self._before_note = before_note
        self._told: tuple[str, int] | None = None

    def __call__(self, loss: Loss) -> None:
        """A connection is over, or there was none."""
        if loss.wait_s <= MOMENT_S or self._told == (loss.why, loss.connections):
            return
        self._told = (loss.why, loss.connections)
        if self._before_note is not None:
            self._before_note()
        note(f"{loss.why}; coming back in {loss.wait_s:.1f} s")


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


@dataclass(slots=True)
class Leave:
    """Whether somebody wants to leave, and did so without a connection."""

    is_asked: bool = False
    is_lost: bool = False


@contextmanager
def leaving_on_interrupt(follower: Follower) -> Iterator[Leave]:
    """Ctrl-C ends the iteration over `follower`. The second one interrupts."""
    left = Leave()

    def leave(_number: int) -> None:
        if left.is_asked:
            raise KeyboardInterrupt
        left.is_asked, left.is_lost = True, not follower.is_connected
        follower.leave()

    with on_signals(leave, signal.SIGINT):
        yield left


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
