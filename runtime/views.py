"""Views of a worker's journal: an index, never a second truth.

`WorkerView.apply` is a fold over events in journal order; the same events give
the same view, so a restart can rebuild it. What it keeps is bounded as the log
is: an entry of the transcript expires with the event that made it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from watchglass.protocol.cursor import BEGINNING, Seq, encode_cursor
from watchglass.protocol.errors import LimitTooLarge, TranscriptExpired
from watchglass.protocol.events import Event, Json
from watchglass.protocol.identity import WorkerRef
from watchglass.protocol.workers import TranscriptEntry, TranscriptProjection
from watchglass.store.base import Record

Role = Literal["user", "system", "assistant", "tool"]

OPEN_TEXT_CHARS_MAX = 256 << 10
SNAPSHOT_ENTRIES_MAX = 256
SNAPSHOT_CHARS_MAX = 512 << 10


@dataclass(frozen=True, slots=True)
class Said:
    """One entry of a transcript, and the event that completed it."""

    sequence: int
    role: Role
    content: str
    seq: Seq


@dataclass(slots=True)
class OpenText:
    """What the worker is saying and has not finished."""

    pieces: list[str] = field(default_factory=list)
    chars: int = 0
    last: Seq = BEGINNING

    def add(self, text: str, seq: Seq) -> None:
        """One more piece."""
        self.pieces.append(text)
        self.chars += len(text)
        self.last = seq

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    def take(self) -> str:
        """All of it, and nothing is open any more."""
        text = self.text
        self.pieces.clear()
        self.chars = 0
        return text


class WorkerView:
    """The transcript and the open text of one worker, as of the last event applied."""

    def __init__(self, worker_ref: WorkerRef) -> None:
        self._worker_ref = worker_ref
        self._kept: deque[Said] = deque()
        self._open = OpenText()
        self._told_in_parts = False
        self.transcript_len = 0

    def apply(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Fold the next events in."""
        for record, event in zip(records, events, strict=True):
            self._fold(record.seq, event)

    def expire(self, trimmed_through: Seq) -> None:
        """Forget the entries whose events retention dropped."""
        while self._kept and self._kept[0].seq <= trimmed_through:
            self._kept.popleft()

    @property
    def oldest_kept(self) -> int:
        """Position of the oldest entry that is kept."""
        return self.transcript_len - len(self._kept)

    def window(self, start: int | None, limit: int, limit_max: int) -> TranscriptProjection:
        """Entries from position `start` (none: the oldest kept), at most `limit`.

        Raises:
            LimitTooLarge: `limit` is over the runtime's maximum.
            TranscriptExpired: `start` names an entry that is no longer kept.
        """
        if limit > limit_max:
            raise LimitTooLarge("limit", limit, limit_max)
        oldest = self.oldest_kept
        if start is None:
            start = oldest
        if start < oldest:
            raise TranscriptExpired(start, oldest)
        end = min(start + limit, self.transcript_len)
        items = [self._entry(self._kept[place - oldest]) for place in range(start, end)]
        return TranscriptProjection(
            worker_ref=self._worker_ref,
            start=start,
            limit=limit,
            total_items=self.transcript_len,
            items=items,
            next_start=end if end < self.transcript_len else None,
            in_flight=self._open.text if self._open.pieces and end == self.transcript_len else None,
        )

    def snapshot_entries(self) -> list[Json]:
        """The newest entries, as many as a snapshot holds."""
        newest: list[Json] = []
        chars = 0
        for said in reversed(self._kept):
            chars += len(said.content)
            if len(newest) == SNAPSHOT_ENTRIES_MAX or (newest and chars > SNAPSHOT_CHARS_MAX):
                break
            newest.append(self._entry(said).model_dump())
        newest.reverse()
        return newest

    def in_flight(self) -> Json | None:
        """The open text, or None."""
        return {"text": self._open.text} if self._open.pieces else None

    def _entry(self, said: Said) -> TranscriptEntry:
        return TranscriptEntry(
            sequence=said.sequence,
            worker_ref=self._worker_ref,
            role=said.role,
            content=said.content,
            event_id=encode_cursor(said.seq),
        )

    def _fold(self, seq: Seq, event: Event) -> None:
        name, data = event
        if name == "text_delta":
            self._open.add(data["text"], seq)
            if self._open.chars > OPEN_TEXT_CHARS_MAX:
                self._say("assistant", self._open.take(), seq)
                self._told_in_parts = True
        elif name == "text_done":
            self._finish_text(data["text"], seq)
        elif name == "user_message":
            self._close_open_text()
            self._say("user", _segments_text(data), seq)
        elif name == "system_item":
            self._close_open_text()
            self._say("system", _item_text(data["item"]), seq)
        elif name == "tool_result":
            self._close_open_text()
            self._say("tool", data["summary"], seq)
        elif name in {"turn_end", "run_end", "end"}:
            self._close_open_text()

    def _finish_text(self, text: str, seq: Seq) -> None:
        """`text` repeats the pieces; those that became entries already are not said twice."""
        rest = self._open.take()
        self._say("assistant", rest if self._told_in_parts else text, seq)
        self._told_in_parts = False

    def _close_open_text(self) -> None:
        self._told_in_parts = False
        if self._open.pieces:
            last = self._open.last
            self._say("assistant", self._open.take(), last)

    def _say(self, role: Role, content: str, seq: Seq) -> None:
        if not content:
            return
        self.transcript_len += 1
        self._kept.append(Said(self.transcript_len, role, content, seq))


def user_message(content: str) -> Event:
    """The event of an accepted input of kind `user`."""
    return Event("user_message", {"segments": [{"kind": "text", "content": content}]})


def system_item(content: str) -> Event:
    """The event of an accepted input of kind `system`."""
    return Event("system_item", {"item": {"kind": "text", "content": content}})


def _segments_text(data: Json) -> str:
    return "".join(segment.get("content") or "" for segment in data["segments"])


def _item_text(item: object) -> str:
    if isinstance(item, dict):
        content = item.get("content")
        return content if isinstance(content, str) else ""
    return item if isinstance(item, str) else ""
