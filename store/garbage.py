"""Python's search for garbage, kept away from what a start brings back.

The search goes through all objects again whenever their number has grown by a
quarter. Of ten thousand workers there are a million, nearly all at once, and
none of them is garbage: looking for it took two thirds of a start.

    with not_searched():      built without a search, and old when the search goes on
    with never_searched():    what is there now is left out of every search, until the block ends
    leave_unsearched()        the process ends, and all of it is left out

An object that is left out still goes when nobody refers to it. Only what refers
to itself in a circle stays, so a removed worker must be in none.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_searched() -> Iterator[None]:
    """Build many objects that stay. Searching goes on after the block, however it ends.

    It stays off where it was off. What is new is as old as what was there
    before, so the young are not searched for it.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # What others froze is theirs.
            gc.freeze()
            gc.unfreeze()
        gc.enable()


@contextmanager
def never_searched() -> Iterator[None]:
    """Leave what is there out of every search: for the owner of a process, around its work.

    Nothing to do inside another such block, or in a process that froze its
    objects itself.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def leave_unsearched() -> None:
    """Before the process ends, which goes with everything that refers to itself in a circle.

    The interpreter would search through all of it first, twice: a third of what
    it takes a server to leave.
    """
    gc.freeze()
