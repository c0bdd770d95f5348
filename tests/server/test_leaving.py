"""The first wish decides what becomes of the workers."""

from __future__ import annotations

import pytest

from watchglass.protocol.errors import RuntimeStopped
from watchglass.server.leaving import Leaving


def told(leaving: Leaving) -> tuple[bool, bool, bool]:
    return leaving.asked.is_set(), leaving.keeps_workers, leaving.hurried.is_set()


@pytest.mark.parametrize("may_keep", [True, False])
def test_only_sigterm_keeps_workers_and_only_where_that_was_chosen(may_keep: bool) -> None:
    terminated, interrupted, drained = (Leaving(keep_workers=may_keep) for _ in range(3))
    assert told(terminated) == (False, False, False)
    terminated.terminated()
    interrupted.interrupted()
    drained.drain("rt-1", None)
    assert told(terminated) == (True, may_keep, False)
    assert told(interrupted) == told(drained) == (True, False, False)


def test_a_second_signal_hurries_and_a_second_drain_does_not() -> None:
    leaving = Leaving(keep_workers=True)
    leaving.drain("rt-1", "enough")
    leaving.drain("rt-1", "enough")
    assert told(leaving) == (True, False, False)
    leaving.terminated()
    assert told(leaving) == (True, False, True)


def test_workers_that_were_let_go_are_not_ended_after_all() -> None:
    leaving = Leaving(keep_workers=True)
    leaving.terminated()
    leaving.interrupted()
    with pytest.raises(RuntimeStopped):
        leaving.drain("rt-1", None)
    assert leaving.keeps_workers
