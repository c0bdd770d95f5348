"""Where in a log the entries of a transcript begin: a sparse index of bounded size.

    far      every `spacing`-th entry, at most `far_max` marks     near   each of the newest entries
    [ 0 . . . 4 . . . 8 . . . 12 . . . 16 . . . 20 ]               [ 21 22 23 24 25 ]

An entry between two marks is found by folding the log from the mark before it.
The spacing is 1 until there are too many marks; then it doubles, and only the
marks on the wider grid stay. When retention has dropped most of them, new ones
are set at spacing 1 again. The newest entries always have a mark of their own.

17 bytes a far mark: most workers are idle, and there are thousands of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from watchglass.protocol.cursor import Seq


class Mark(NamedTuple):
    """Entry `entry` (from 0) begins with event `begins`; `in_parts` is the fold's state there."""

    entry: int
    begins: Seq
    in_parts: bool


_ENTRY: Final = itemgetter(0)


class Marks:
    """Marks in the order of their entries; at most `far_max` and `near_max` of them."""

    __slots__ = ("_far_begins", "_far_entries", "_far_in_parts", "_far_max", "_near", "_near_max", "spacing")

    def __init__(self, far_max: int, near_max: int, marks: Sequence[Mark] = (), spacing: int = 1) -> None:
        self._far_max = far_max
        self._near_max = near_max
        self._near: deque[tuple[int, Seq, bool]] = deque(marks[-near_max:])
        self.spacing = spacing
        self._set_far(marks[:-near_max])

    def __len__(self) -> int:
        return len(self._far_entries) + len(self._near)

    def __iter__(self) -> Iterator[Mark]:
        yield from self._far()
        for mark in self._near:
            yield Mark(*mark)

    @property
    def oldest(self) -> int | None:
        """The oldest entry that has a mark."""
        if self._far_entries:
            return self._far_entries[0]
        return self._near[0][0] if self._near else None

    def at(self, entry: int) -> Mark:
        """The nearest mark at or before an entry, which must not lie before the oldest."""
        near = bisect_right(self._near, entry, key=_ENTRY) - 1
        if near >= 0:
            return Mark(*self._near[near])
        far = bisect_right(self._far_entries, entry) - 1
        assert far >= 0
        return Mark(self._far_entries[far], Seq(self._far_begins[far]), bool(self._far_in_parts[far]))

    def add(self, entry: int, begins: Seq, in_parts: bool) -> None:
        """Mark the next entry."""
        self._near.append((entry, begins, in_parts))
        if len(self._near) <= self._near_max:
            return
        leaving, begins, in_parts = self._near.popleft()
        if leaving % self.spacing:
            return
        self._far_entries.append(leaving)
        self._far_begins.append(begins)
        self._far_in_parts.append(in_parts)
        while len(self._far_entries) > self._far_max:
            self.spacing *= 2
            self._set_far([mark for mark in self._far() if mark.entry % self.spacing == 0])

    def drop_through(self, trimmed_through: Seq) -> None:
        """Forget the entries whose beginning retention dropped."""
        dropped = bisect_right(self._far_begins, trimmed_through)
        if dropped:
            del self._far_entries[:dropped], self._far_begins[:dropped], self._far_in_parts[:dropped]
            if len(self._far_entries) < self._far_max // 4:
                self.spacing = 1
        while self._near and self._near[0][1] <= trimmed_through:
            self._near.popleft()

    def _far(self) -> Iterator[Mark]:
        for entry, begins, in_parts in zip(
            self._far_entries, self._far_begins, self._far_in_parts, strict=True
        ):
            yield Mark(entry, Seq(begins), bool(in_parts))

    def _set_far(self, marks: Iterable[Mark]) -> None:
        self._far_entries, self._far_begins, self._far_in_parts = array("Q"), array("Q"), bytearray()
        for mark in marks:
            self._far_entries.append(mark.entry)
            self._far_begins.append(mark.begins)
            self._far_in_parts.append(mark.in_parts)
