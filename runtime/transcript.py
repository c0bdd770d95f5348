"""What of a transcript is kept in memory: bounded, whatever its length.

Pure: events in, marks and the newest entries out. `views.WorkerView` reads
everything else back from the log.

    entries   [ 0 … | oldest … … … … … | newest_start … ]   length
        expired ^     read back from     content is here ^
                      the log by marks

An entry is kept as long as the event that it begins with: what retention has
cut is never shown as if it were whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Annotated, Literal

import orjson
from pydantic import Field, ValidationError

from watchglass.protocol.base import Wire
from watchglass.protocol.cursor import BEGINNING, SEQ_MAX, Seq
from watchglass.protocol.events import Event
from watchglass.store.base import Record

from .marks import Mark, Marks
from .open_calls import CALLS, OpenCalls
from .transcript_fold import CONCERNED, OpenText, Said, TranscriptFold

MARKS_MAX = 2048
SNAPSHOT_ENTRIES_MAX = 256
SNAPSHOT_CHARS_MAX = 512 << 10

_Count = Annotated[int, Field(ge=0, le=SEQ_MAX)]


class TranscriptState(Wire):
    """A transcript without its content, except for the open text: `(text, begins, last)`.

    `marks` are `(entry, begins, in_parts)`, `open_calls` `(id, name, arguments)`. It
    is as of `position`, the last event folded. A newer version that is read
    differently has another `version`.
    """

    version: Literal[1] = 1
    length: _Count
    position: _Count
    in_parts: bool
    torn_at: _Count | None
    open_text: tuple[str, _Count, _Count] | None
    spacing: Annotated[int, Field(ge=1, le=SEQ_MAX)]
    marks: list[tuple[_Count, _Count, bool]]
    open_calls: list[tuple[str, str, str]] = Field(default_factory=list)
    reserved_at: _Count | None = None


class Transcript:
    """The fold, the marks and the newest entries, as of `position`, the last event applied.

    At most `far_max` marks and `newest_max` more, one for each of the entries
    that can be among the newest; of those, content is kept as a snapshot's is:
    `newest_max` entries and `SNAPSHOT_CHARS_MAX` characters, but at least one.
    """

    def __init__(
        self, *, length: int = 0, far_max: int = MARKS_MAX, newest_max: int = SNAPSHOT_ENTRIES_MAX
    ) -> None:
        self.length = length
        self.position = BEGINNING
        self.events_since_state = 0
        self._state_position = BEGINNING
        self.trimmed_through = BEGINNING
        self._far_max = far_max
        self._newest_max = newest_max
        self._fold = TranscriptFold()
        self.open_calls = OpenCalls()
        self._marks = Marks(far_max, newest_max)
        self._newest: deque[Said] = deque()
        self._newest_chars = 0
        self._newest_is_full = False

    def apply(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Fold the next events in; at least one."""
        assert len(records) == len(events)
        feed = self._fold.feed
        for place, event in enumerate(events):  # Half the price of zip, and this runs for every event.
            if event.name in CONCERNED and (said := feed(records[place].seq, event)):
                self._add(said)
            if event.name in CALLS:
                self.open_calls.feed(event)
        self.position = records[-1].seq
        self.events_since_state += len(records)

    def expire(self, trimmed_through: Seq) -> None:
        """Forget the entries whose beginning retention dropped."""
        self.trimmed_through = trimmed_through
        self._marks.drop_through(trimmed_through)
        newest = self._newest
        while newest and newest[0].begins <= trimmed_through:
            self._newest_chars -= len(newest.popleft().content)

    def resume_after(self, trimmed_through: Seq) -> None:
        """Go on behind a gap: events that were not applied yet are lost through this one.

        Entries among them are not counted, and an open text is lost with them.
        """
        self._go_on_with(TranscriptFold(torn_at=trimmed_through), self.reserved_at)
        self.open_calls = OpenCalls()
        self.position = trimmed_through
        self.expire(trimmed_through)

    @property
    def open_text(self) -> OpenText | None:
        """What is being said."""
        return self._fold.open_text

    @property
    def reserved_at(self) -> Seq | None:
        """The event that told of a reservation which was not told to be released."""
        return self._fold.reserved_at

    @property
    def oldest(self) -> int:
        """The oldest entry that is claimed; where the marks are thin, up to `spacing` newer than could be."""
        oldest = self._marks.oldest
        return self.length if oldest is None else oldest

    @property
    def newest_start(self) -> int:
        """The first entry whose content is here."""
        return self.length - len(self._newest)

    def newest(self, start: int, end: int) -> list[Said]:
        """Entries `start` to `end` (excluded), from `newest_start` on."""
        first = self.newest_start
        return list(islice(self._newest, start - first, end - first))

    def mark_at(self, entry: int) -> Mark:
        """Where to begin to read for an entry that is claimed."""
        return self._marks.at(entry)

    @property
    def missing_newest(self) -> range:
        """The next older entries that belong to the newest; after a restoration they are in the log alone.

        A few at first, then as many as there are: their size is not known before they are read.
        """
        if self._newest_is_full:
            return range(0)
        have, end = len(self._newest), self.newest_start
        wanted = min(max(have, 8), self._newest_max - have)
        return range(max(self.oldest, end - wanted), end)

    def add_before(self, said: Sequence[Said], end: int) -> None:
        """Take entries that end before `end` in front of the newest, as far as there is room."""
        if end != self.newest_start:
            return  # Meanwhile others left at this side, so these have no place.
        for entry in reversed(said):
            if not self._has_room(entry.content):
                self._newest_is_full = True
                return
            self._newest.appendleft(entry)
            self._newest_chars += len(entry.content)

    @property
    def state_is_overtaken(self) -> bool:
        """Whether retention dropped events that the last state does not account for."""
        return self.trimmed_through > self._state_position

    def state(self) -> bytes:
        """What `restore` takes, as bytes for `read_state`."""
        self.events_since_state = 0
        self._state_position = self.position
        open_text = self._fold.open_text
        return orjson.dumps(
            {
                "version": 1,
                "length": self.length,
                "position": self.position,
                "in_parts": self._fold.told_in_parts,
                "torn_at": self._fold.torn_at,
                "open_text": None if open_text is None else [*open_text],
                "spacing": self._marks.spacing,
                "marks": [[*mark] for mark in self._marks],
                "open_calls": self.open_calls.state(),
                "reserved_at": self._fold.reserved_at,
            }
        )

    def restore(self, state: TranscriptState) -> None:
        """Be as `state` says."""
        open_text = None
        if state.open_text is not None:
            text, begins, last = state.open_text
            open_text = OpenText(text, Seq(begins), Seq(last))
        torn_at = None if state.torn_at is None else Seq(state.torn_at)
        self.length, self.position = state.length, Seq(state.position)
        self._state_position = self.position
        self._go_on_with(
            TranscriptFold(in_parts=state.in_parts, open_text=open_text, torn_at=torn_at),
            None if state.reserved_at is None else Seq(state.reserved_at),
        )
        self.open_calls = OpenCalls(state.open_calls)
        self._marks = Marks(self._far_max, self._newest_max, _marks_of(state), state.spacing)

    def rewind(self, state: TranscriptState, head: Seq) -> None:
        """Be as `state` was at its newest mark that is not ahead of the log; all is new if there is none."""
        marks = [mark for mark in _marks_of(state) if mark.begins <= head]
        if marks:
            last = marks.pop()
            self.length, self.position = last.entry, Seq(last.begins - 1)
            is_known = state.reserved_at is not None and state.reserved_at < last.begins
            self._go_on_with(
                TranscriptFold(in_parts=last.in_parts), Seq(state.reserved_at or 0) if is_known else None
            )
            self._marks = Marks(self._far_max, self._newest_max, marks, state.spacing)

    def _go_on_with(self, fold: TranscriptFold, reserved_at: Seq | None) -> None:
        fold.reserved_at = reserved_at
        self._fold = fold

    def _add(self, said: Sequence[Said]) -> None:
        newest = self._newest
        for entry in said:
            self._marks.add(self.length, entry.begins, entry.in_parts)
            self.length += 1
            newest.append(entry)
            self._newest_chars += len(entry.content)
        while len(newest) > self._newest_max or (self._newest_chars > SNAPSHOT_CHARS_MAX and len(newest) > 1):
            self._newest_chars -= len(newest.popleft().content)
            self._newest_is_full = True
        if said[0].begins <= self.trimmed_through:
            self.expire(self.trimmed_through)  # What was open lost its beginning meanwhile.

    def _has_room(self, content: str) -> bool:
        if not self._newest:
            return True
        chars = self._newest_chars + len(content)
        return len(self._newest) < self._newest_max and chars <= SNAPSHOT_CHARS_MAX


def read_state(state: bytes | None) -> TranscriptState | None:
    """A saved state; None when there is none, or none that can be relied on."""
    if state is None:
        return None
    try:
        read = TranscriptState.model_validate_json(state)
    except ValidationError:
        return None
    marks = read.marks
    follows = all(one[0] < other[0] and one[1] <= other[1] for one, other in pairwise(marks))
    ends = not marks or (marks[-1][0] < read.length and marks[-1][1] <= read.position)
    return read if follows and ends else None


def _marks_of(state: TranscriptState) -> list[Mark]:
    return [Mark(entry, Seq(begins), in_parts) for entry, begins, in_parts in state.marks]
