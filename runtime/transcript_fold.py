"""Which events make which entries of a transcript.

Pure: events go in, in journal order, and the entries that they complete come
out. The same events give the same entries, wherever the fold begins, as long as
it begins where nothing is open.

    text_delta …       text is open; over `OPEN_TEXT_CHARS_MAX` it becomes an entry, and more may follow
    text_done          closes it; its text counts, except what became entries in parts already
    user_message, system_item, tool_result
                       close an open text as it is, then are an entry themselves
    turn_end, run_end, end
                       close an open text as it is

    reserved, released make none: the fold knows whether a reservation is told and not
                       taken back yet, for it sees every event once

Every other event passes by. An entry without content is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.events import Event, Json

Role = Literal["user", "system", "assistant", "tool"]

OPEN_TEXT_CHARS_MAX = 256 << 10


class Said(NamedTuple):
    """One entry, and where it is in the log.

    `begins` is the event that its content begins with, `seq` the one that
    completes it. A fold that starts at `begins`, with `in_parts` and nothing
    open, says this entry first.
    """

    role: Role
    content: str
    begins: Seq
    seq: Seq
    in_parts: bool = False


class OpenText(NamedTuple):
    """What is being said and not finished: enough to go on with it elsewhere."""

    text: str
    begins: Seq
    last: Seq


NOTHING: Final[Sequence[Said]] = ()


class TranscriptFold:
    """The state between two events: the open text, and whether some of it was told already.

    `torn_at` starts a fold in the middle of a log of which everything through
    that sequence is lost. A text that is open first may lack its beginning, so
    its entry counts, but begins at `torn_at`: it is as lost as its first words.
    """

    __slots__ = ("_begins", "_chars", "_last", "_pieces", "reserved_at", "told_in_parts", "torn_at")

    def __init__(
        self, *, in_parts: bool = False, open_text: OpenText | None = None, torn_at: Seq | None = None
    ) -> None:
        self.told_in_parts = in_parts
        self.torn_at = torn_at
        self.reserved_at: Seq | None = None
        self._pieces: list[str] = []
        self._chars = 0
        self._begins = self._last = torn_at or BEGINNING
        if open_text is not None:
            self._pieces.append(open_text.text)
            self._chars = len(open_text.text)
            self._begins, self._last = open_text.begins, open_text.last

    @property
    def open_text(self) -> OpenText | None:
        """What is being said, or None."""
        return OpenText("".join(self._pieces), self._begins, self._last) if self._pieces else None

    def feed(self, seq: Seq, event: Event) -> Sequence[Said]:
        """The entries that the next event completes, mostly none."""
        name, data = event
        if name == "text_delta":
            text: str = data["text"]
            if not self._chars and self.torn_at is None:
                self._begins = seq
            if text or not self._pieces:  # Endless nothing takes no room.
                self._pieces.append(text)
            self._chars += len(text)
            self._last = seq
            return NOTHING if self._chars <= OPEN_TEXT_CHARS_MAX else self._say_part(seq)
        step = _STEPS.get(name)
        return NOTHING if step is None else step(self, seq, data)

    def _say_part(self, seq: Seq) -> Sequence[Said]:
        part = self._take_said(seq)
        self.told_in_parts = True
        return part

    def _finish(self, seq: Seq, data: Json) -> Sequence[Said]:
        """The text repeats the pieces; those that became entries already are not said twice."""
        if self.told_in_parts:
            return self._take_said(seq)
        self._pieces.clear()
        self._chars = 0
        return self._alone("assistant", data["text"], seq)

    def _close(self, _seq: Seq = BEGINNING, _data: Json | None = None) -> Sequence[Said]:
        """An open text without its `text_done` is complete with its last piece."""
        return self._take_said(self._last)

    def _user(self, seq: Seq, data: Json) -> Sequence[Said]:
        return self._alone("user", _segments_text(data), seq)

    def _system(self, seq: Seq, data: Json) -> Sequence[Said]:
        return self._alone("system", _item_text(data["item"]), seq)

    def _reserve(self, seq: Seq, _data: Json) -> Sequence[Said]:
        self.reserved_at = seq
        return NOTHING

    def _release(self, _seq: Seq, _data: Json) -> Sequence[Said]:
        self.reserved_at = None
        return NOTHING

    def _tool(self, seq: Seq, data: Json) -> Sequence[Said]:
        return self._alone("tool", data["summary"], seq)

    def _alone(self, role: Role, content: str, seq: Seq) -> Sequence[Said]:
        """An entry of one event, after what was open."""
        said = (Said(role, content, seq, seq),) if content else NOTHING
        if self._pieces:
            return *self._close(), *said
        self.told_in_parts, self.torn_at = False, None
        return said

    def _take_said(self, seq: Seq) -> Sequence[Said]:
        """The entry of what is open, completed by `seq`; then nothing is open."""
        text = "".join(self._pieces)
        said = (Said("assistant", text, self._begins, seq, self.told_in_parts),) if text else NOTHING
        self._pieces.clear()
        self._chars = 0
        self.told_in_parts, self.torn_at = False, None
        return said


_STEPS: Final[dict[str, Callable[[TranscriptFold, Seq, Json], Sequence[Said]]]] = {
    "text_done": TranscriptFold._finish,
    "user_message": TranscriptFold._user,
    "system_item": TranscriptFold._system,
    "tool_result": TranscriptFold._tool,
    "reserved": TranscriptFold._reserve,
    "released": TranscriptFold._release,
    "turn_end": TranscriptFold._close,
    "run_end": TranscriptFold._close,
    "end": TranscriptFold._close,
}


CONCERNED: Final = frozenset({"text_delta", *_STEPS})
"""The events that `feed` does anything about; the others may be kept from it."""


def _segments_text(data: Json) -> str:
    return "".join(segment.get("content") or "" for segment in data["segments"])


def _item_text(item: object) -> str:
    if isinstance(item, dict):
        content = item.get("content")
        return content if isinstance(content, str) else ""
    return item if isinstance(item, str) else ""
