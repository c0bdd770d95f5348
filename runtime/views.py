"""The transcript of one worker: an index over its journal, never a second truth.

`WorkerView.apply` is a fold over events in journal order; the same events give
the same view, so it can be rebuilt from the log, or go on from a saved state.
What it keeps is bounded; entries that are not the newest are read back from the
log when somebody asks for them, and expire with the event that they begin with.

    asleep ──restored──▶ restored ──filled──▶ awake      a new worker's view is born awake
    restored: what is said is told, and any window is read from the log
    awake:    the newest entries are here too, so a snapshot is pinned without waiting

While a view is asleep it takes no events: the log has them, and the step in
which it becomes restored is one in which it has read all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property

from watchglass.protocol.cursor import Seq, encode_cursor
from watchglass.protocol.errors import CursorExpired, LimitTooLarge, TranscriptExpired
from watchglass.protocol.events import Event, Json
from watchglass.protocol.feed_v2 import Open
from watchglass.protocol.frames import decode_event
from watchglass.protocol.identity import WorkerRef
from watchglass.protocol.workers import TranscriptEntry, TranscriptProjection
from watchglass.store.base import Log, Record

from .transcript import MARKS_MAX, SNAPSHOT_ENTRIES_MAX, Transcript, read_state
from .transcript_fold import Said, TranscriptFold

SAVE_EVENTS = 4096
"""How many events a restart should have to fold at most."""

WINDOW_TRIES_MAX = 8
"""How often retention may overtake the reading of one window."""

LoadState = Callable[[], Awaitable[bytes | None]]


class _DoesNotFit(Exception):
    """The log ends before the transcript that a saved state told of: it is of another log, or damaged."""


class WorkerView:
    """The transcript and the open text of one worker, as of the last event applied.

    Made new for a new worker; for one from before a restart see `restore` and
    `asleep`. At most `marks_max + newest_max` marks and `newest_max` entries are
    kept in memory.
    """

    def __init__(
        self,
        worker_ref: WorkerRef,
        *,
        marks_max: int = MARKS_MAX,
        newest_max: int = SNAPSHOT_ENTRIES_MAX,
    ) -> None:
        self._worker_ref = worker_ref
        self._marks_max = marks_max
        self._newest_max = newest_max
        self._load_state: LoadState | None = None
        self._asleep_len = 0
        self._is_awake = True

    # Made when first used: most views are of workers that ended, and nobody asks for them.

    @cached_property
    def _transcript(self) -> Transcript:
        return self._blank(self._asleep_len)

    @cached_property
    def _waking(self) -> asyncio.Lock:
        return asyncio.Lock()

    @classmethod
    def asleep(
        cls,
        worker_ref: WorkerRef,
        load_state: LoadState,
        *,
        transcript_len: int = 0,
        marks_max: int = MARKS_MAX,
        newest_max: int = SNAPSHOT_ENTRIES_MAX,
    ) -> WorkerView:
        """A view that restores itself when it is asked for: of a worker that will say nothing more.

        Until then it costs nothing and knows `transcript_len` alone.
        """
        view = cls(worker_ref, marks_max=marks_max, newest_max=newest_max)
        view._asleep_len = transcript_len
        view._load_state = load_state
        view._is_awake = False
        return view

    @classmethod
    async def restore(
        cls,
        worker_ref: WorkerRef,
        state: bytes | None,
        log: Log,
        *,
        marks_max: int = MARKS_MAX,
        newest_max: int = SNAPSHOT_ENTRIES_MAX,
    ) -> WorkerView:
        """The view as of the log's head, from a saved state and the events after it.

        From the log's oldest event if the state is None, or cannot be read. What
        retention dropped unseen is not counted in `transcript_len`. The newest
        entries are filled in by `wake`.

        Raises:
            StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
        """

        async def given() -> bytes | None:
            return state

        view = cls.asleep(worker_ref, given, marks_max=marks_max, newest_max=newest_max)
        await view._restore(log)
        return view

    @classmethod
    def from_here(cls, worker_ref: WorkerRef, head: Seq) -> WorkerView:
        """A view of what follows, for a log whose past cannot be read: as if retention had dropped it."""
        view = cls(worker_ref)
        view._transcript.resume_after(head)
        return view

    async def wake(self, log: Log) -> None:
        """Be ready for a snapshot; nothing to do for a view that is awake. Askers at once share the work.

        Raises:
            StoreIo, StoreMissing, StoreCorrupt: The log cannot be read; the next asker tries again.
        """
        if self._is_awake:
            return
        await self._restore(log)
        async with self._waking:
            await self._fill(log)
            self._is_awake = True

    def apply(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Fold the next events in; at least one."""
        if self._load_state is None:
            self._transcript.apply(records, events)

    def expire(self, trimmed_through: Seq) -> None:
        """Forget the entries whose events retention dropped."""
        if trimmed_through > self._transcript.trimmed_through:
            self._transcript.expire(trimmed_through)

    @property
    def transcript_len(self) -> int:
        """How many entries there are, kept or not."""
        return self._transcript.length if self._load_state is None else self._asleep_len

    @property
    def oldest_kept(self) -> int:
        """Position of the oldest entry that is kept."""
        return self._transcript.oldest

    async def window(self, log: Log, start: int | None, limit: int, limit_max: int) -> TranscriptProjection:
        """Entries from position `start` (none: the oldest kept), at most `limit`, as of this call.

        Raises:
            LimitTooLarge: `limit` is over the runtime's maximum.
            TranscriptExpired: `start` names an entry that is no longer kept.
            StoreIo, StoreMissing, StoreCorrupt: The log cannot be read.
        """
        if limit > limit_max:
            raise LimitTooLarge("limit", limit, limit_max)
        await self._restore(log)
        for _ in range(WINDOW_TRIES_MAX):
            self.expire(log.trimmed_through)
            place = self.oldest_kept if start is None else start
            if place < self.oldest_kept:
                break
            try:
                return await self._window(log, place, limit)
            except CursorExpired:
                continue  # Retention moved meanwhile, and the entries with it.
            except _DoesNotFit:
                await self._begin_anew(log)
        raise TranscriptExpired(place, self.oldest_kept)

    def snapshot_entries(self) -> list[Json]:
        """The newest entries, as many as a snapshot holds."""
        newest, end = self._transcript, self._transcript.length
        start = newest.newest_start
        return [entry.model_dump() for entry in self._entries(newest.newest(start, end), start)]

    def in_flight(self) -> Json | None:
        """The open text, or None."""
        open_text = self._transcript.open_text
        return None if open_text is None else {"text": open_text.text}

    def open(self) -> Open:
        """What has begun and is not done."""
        open_text = self._transcript.open_text
        return Open(
            text=None if open_text is None else open_text.text, tool_calls=self._transcript.open_calls.told()
        )

    @property
    def reserved_at(self) -> Seq | None:
        """The event that told of a reservation which was not told to be released; None while asleep, too."""
        return self._transcript.reserved_at

    @property
    def events_since_state(self) -> int:
        """How many events `state` has not been asked about."""
        return self._transcript.events_since_state

    @property
    def is_save_due(self) -> bool:
        """Whether a restart from the last state would take long, or would have lost count."""
        since = self.events_since_state
        return since >= SAVE_EVENTS or (since > 0 and self._transcript.state_is_overtaken)

    def state(self) -> bytes:
        """What `restore` takes, as of now. A save that fails is made up for by the next one."""
        assert self._load_state is None, "a view that is asleep has no state of its own"
        return self._transcript.state()

    async def _window(self, log: Log, start: int, limit: int) -> TranscriptProjection:
        length = self._transcript.length  # Of one moment with the open text: no wait between them.
        end = min(start + limit, length)
        open_text = self._transcript.open_text if end == length else None
        return TranscriptProjection(
            worker_ref=self._worker_ref,
            start=start,
            limit=limit,
            total_items=length,
            items=self._entries(await self._said(log, start, end), start),
            next_start=end if end < length else None,
            in_flight=None if open_text is None else open_text.text,
        )

    async def _said(self, log: Log, start: int, end: int) -> list[Said]:
        """Entries `start` to `end` (excluded): the newest are here, the others are read back."""
        border = max(start, self._transcript.newest_start)
        newest = self._transcript.newest(border, end) if border < end else []
        return [*await self._read_back(log, start, min(border, end)), *newest]

    async def _read_back(self, log: Log, start: int, end: int) -> list[Said]:
        """Entries that are claimed, by their events. Raises CursorExpired, _DoesNotFit, store faults."""
        if start >= end:
            return []
        mark = self._transcript.mark_at(start)
        fold, place, after = TranscriptFold(in_parts=mark.in_parts), mark.entry, Seq(mark.begins - 1)
        taken: list[Said] = []
        while place < end:
            records = await log.read(after=after)
            if not records:
                raise _DoesNotFit
            for record in records:
                for said in fold.feed(record.seq, decode_event(record.line)):
                    if start <= place < end:  # An event may complete two entries.
                        taken.append(said)
                    place += 1
            after = records[-1].seq
            await asyncio.sleep(0)  # A far window is long to read; others have their turn.
        return taken

    async def _restore(self, log: Log) -> None:
        if self._load_state is None:
            return
        async with self._waking:
            if self._load_state is not None:
                restored = await self._beginning(await self._load_state(), log)
                await _catch_up(restored, log)
                self._transcript, self._load_state = restored, None

    async def _beginning(self, saved: bytes | None, log: Log) -> Transcript:
        """Where to go on from. A log that lost its end, as in a loss of power, knows less than the state."""
        transcript, state = self._blank(), read_state(saved)
        if state is None:
            return transcript
        if await _knows(log, Seq(state.position)):
            transcript.restore(state)
            return transcript
        transcript.rewind(state, log.head)
        return transcript if await _knows(log, Seq(transcript.position + 1)) else self._blank()

    async def _fill(self, log: Log) -> None:
        while missing := self._transcript.missing_newest:
            try:
                said = await self._read_back(log, missing.start, missing.stop)
            except CursorExpired:
                self.expire(log.trimmed_through)
            except _DoesNotFit:
                await self._begin_anew(log)
            else:
                self._transcript.add_before(said, missing.stop)

    async def _begin_anew(self, log: Log) -> None:
        """As if there had been no saved state: it told of more than the log has."""
        anew = self._blank()
        await _catch_up(anew, log)
        self._transcript = anew

    def _blank(self, length: int = 0) -> Transcript:
        return Transcript(length=length, far_max=self._marks_max, newest_max=self._newest_max)

    def _entries(self, said: Sequence[Said], start: int) -> list[TranscriptEntry]:
        return [
            TranscriptEntry(
                sequence=sequence,
                worker_ref=self._worker_ref,
                role=entry.role,
                content=entry.content,
                event_id=encode_cursor(entry.seq),
            )
            for sequence, entry in enumerate(said, start=start + 1)
        ]


async def _knows(log: Log, seq: Seq) -> bool:
    """Whether an event was this log's: it is kept, or lies behind retention."""
    return seq <= log.trimmed_through or await log.holds(seq)


async def _catch_up(transcript: Transcript, log: Log) -> None:
    """Fold what the log has; returns in the step in which that is all there is."""
    transcript.expire(log.trimmed_through)
    while transcript.position < log.head:
        try:
            records = await log.read(after=transcript.position)
        except CursorExpired:
            transcript.resume_after(log.trimmed_through)
            continue
        transcript.apply(records, [decode_event(record.line) for record in records])
        await asyncio.sleep(0)
    transcript.expire(log.trimmed_through)


def user_message(content: str) -> Event:
    """The event of an accepted input of kind `user`."""
    return Event("user_message", {"segments": [{"kind": "text", "content": content}]})


def system_item(content: str) -> Event:
    """The event of an accepted input of kind `system`."""
    return Event("system_item", {"item": {"kind": "text", "content": content}})
