"""Conversations, and what a transcript of them is."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from watchglass.protocol.cursor import BEGINNING, Seq
from watchglass.protocol.errors import TranscriptExpired
from watchglass.protocol.events import Event
from watchglass.protocol.identity import WorkerRef
from watchglass.runtime.transcript_fold import Said, TranscriptFold
from watchglass.runtime.views import WorkerView, system_item, user_message
from watchglass.store.base import Log, Record, Retention
from watchglass.store.memory import MemoryGround, MemoryLog
from watchglass.store.numbering import Numbering

REF = WorkerRef(runtime_id="rt", worker_id="w")
ALL = 1 << 30


def delta(text: str) -> Event:
    return Event("text_delta", {"text": text})


def done(text: str) -> Event:
    return Event("text_done", {"text": text})


def tool(summary: str) -> Event:
    return Event("tool_result", {"id": "t", "summary": summary})


texts = st.text(max_size=4)
deltas = st.builds(delta, texts)
happenings = st.one_of(
    *[deltas] * 6,  # Most of what is told is pieces.
    st.builds(done, texts),
    st.builds(user_message, texts),
    st.builds(system_item, texts),
    st.builds(tool, texts),
    st.sampled_from(
        [
            Event("turn_end", {"turn": 1}),
            Event("run_end", {}),
            Event("end", {}),
            Event("status", {"status": "running"}),
            Event("thinking_delta", {"text": "hm"}),
            Event("x-ours", {"text": 5}),
        ]
    ),
)
conversations = st.lists(happenings, max_size=30) | st.lists(happenings, min_size=15, max_size=30)
long_conversations = st.lists(
    st.sampled_from([*[delta("x" * 140_000)] * 4, delta("y"), done("z"), user_message("u")]),
    min_size=5,
    max_size=10,
)
"""Most of their texts become entries in parts."""


def fold(events: Sequence[Event]) -> list[Said]:
    """Every entry of the events 1, 2, 3 …"""
    machine = TranscriptFold()
    return [said for seq, event in enumerate(events, start=1) for said in machine.feed(Seq(seq), event)]


class Told:
    """A view on a log in memory, and beside it every entry there ever was."""

    def __init__(
        self,
        max_events: int = 10_000,
        *,
        marks_max: int = 2048,
        newest_max: int = 256,
        log: type[MemoryLog] = MemoryLog,
        after: Seq = BEGINNING,
    ) -> None:
        self.view = WorkerView(REF, marks_max=marks_max, newest_max=newest_max)
        self.entries: list[Said] = []
        self._fold = TranscriptFold()
        numbering = Numbering(lambda: 1, after)
        self.log = log("w", MemoryGround(numbering), Retention(max_events=max_events), self._on_visible)

    def _on_visible(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        for record, event in zip(records, events, strict=True):
            self.entries += self._fold.feed(record.seq, event)
        self.view.apply(records, events)
        self.view.expire(self.log.trimmed_through)

    async def say(self, *events: Event) -> None:
        """Append them one by one."""
        for event in events:
            await self.log.append([event])

    @property
    def oldest_whole(self) -> int:
        """The oldest entry of which retention has dropped nothing."""
        lost = [place for place, said in enumerate(self.entries) if said.begins <= self.log.trimmed_through]
        return lost[-1] + 1 if lost else 0


async def told(*events: Event) -> Told:
    """All of it, nothing dropped."""
    conversation = Told()
    await conversation.say(*events)
    return conversation


async def shown(
    view: WorkerView, log: Log, start: int | None = None, limit: int = ALL
) -> list[tuple[str, str]] | None:
    """Roles and contents of a window; None when it has expired."""
    try:
        window = await view.window(log, start, limit, ALL)
    except TranscriptExpired:
        return None
    return [(entry.role, entry.content) for entry in window.items]
