"""Where `attach` shows what it sees: words for a person, or objects for a program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from .showing import is_terminal, note, one_line, short, write_json_line, write_line

_ENDED: Final = frozenset({"stopped", "cancelled", "succeeded", "failed", "lost"})

if TYPE_CHECKING:
    from watchglass.protocol.said import Joined, Reset, Told

Json = dict[str, Any]
SaidBefore = Callable[["Joined"], list[Json]]
"""The newest entries of the transcript as of a join."""

_MARKS: Final = {"user": ">", "system": "#", "assistant": "<", "tool": "*"}


class Screen(Protocol):
    """Where `attach` shows what it sees."""

    def join(self, joined: Joined) -> None:
        """A connection begins."""

    def tell(self, told: Told) -> None:
        """An event, once."""

    def reset(self, reset: Reset) -> None:
        """Events are lost to this reader."""

    def close(self) -> None:
        """Nothing more is shown."""


class JsonScreen:
    """Envelopes, one a line; a reset is one too, for a loss must not pass silently."""

    def join(self, joined: Joined) -> None:
        """Nothing: a snapshot is no event."""

    def tell(self, told: Told) -> None:
        """The envelope."""
        write_json_line(told.envelope)

    def reset(self, reset: Reset) -> None:
        """The frame."""
        write_json_line(reset_frame(reset))

    def close(self) -> None:
        """Nothing."""


class TextScreen:
    """What a worker says, as it says it; what it does, one line each.

    Text goes to stdout as it is, a worker's stderr to stderr; lines of our own
    begin on a line of their own.
    """

    def __init__(self, worker: str, said_before: SaidBefore | None) -> None:
        """With `said_before`, the first connection begins with what was said before it."""
        self._worker = worker
        self._said_before = said_before
        self._joined = False
        self._at_line_start = True
        self._deltas_shown = False
        self._was_reset = False

    def join(self, joined: Joined) -> None:
        """Say where we are; at the first connection, what was said before."""
        is_first, was_reset = not self._joined, self._was_reset
        self._joined, self._was_reset = True, False
        if is_first:
            if joined.phase not in _ENDED:  # Else it is told at once how it ended.
                note(f"attached to {self._worker} ({joined.phase}); Ctrl-C detaches")
            # A text of speech `text` always comes in deltas, so its end brings nothing new.
            self._deltas_shown = _speech(joined) == "text"
            if self._said_before is not None:
                self._show_before(joined, self._said_before)
        elif not was_reset:  # A reset has said more.
            self._begin_line()
            note("connection lost and taken up again where it was cut")

    def tell(self, told: Told) -> None:
        """Show an event in its own way."""
        name, data = told.name, told.data
        if name in {"text_delta", "thinking_delta"}:
            self._deltas_shown = True
            self._text(data["text"])
        elif name in {"text_done", "thinking_done"}:
            self._text("" if self._deltas_shown else data["text"])
            self._deltas_shown = False
            self._begin_line()
        elif name == "output":
            self._output(data)
        elif name in {"user_message", "system_item"}:
            self._said(_MARKS["user" if name == "user_message" else "system"], input_text(data))
        elif name == "execution_plan":
            for reason in data["fallback_reasons"]:
                self._line(f"[not given] {one_line(reason)}")
        elif name != "end":
            self._line(f"[{name}] {short(data)}")

    def reset(self, reset: Reset) -> None:
        """Say what is lost."""
        self._was_reset = True
        self._begin_line()
        note(f"{loss_in_words(facts_of(reset))}; going on after {reset.head}")

    def close(self) -> None:
        """End the line."""
        self._begin_line()

    def _show_before(self, joined: Joined, said_before: SaidBefore) -> None:
        for entry in said_before(joined):
            role = str(entry["role"])
            self._said(_MARKS.get(role, role), entry["content"])
        text = open_text(joined)
        self._deltas_shown = self._deltas_shown or bool(text)
        self._text(text)

    def _output(self, data: Json) -> None:
        if data["stream"] == "stdout":
            self._text(data["text"])
            return
        sys.stdout.flush()
        sys.stderr.write(data["text"])
        sys.stderr.flush()

    def _text(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._at_line_start = text.endswith("\n")

    def _said(self, mark: str, content: str) -> None:
        for line in content.splitlines() or [""]:
            self._line(f"{mark} {one_line(line)}")

    def _line(self, text: str) -> None:
        self._begin_line()
        write_line(f"\x1b[2m{text}\x1b[0m" if _in_colour() else text)

    def _begin_line(self) -> None:
        if not self._at_line_start:
            write_line("")
            self._at_line_start = True


def open_text(joined: Joined) -> str:
    """What a worker has begun to say and has not finished, in either version of a snapshot."""
    if joined.version == 2:
        return str(joined.data["open"]["text"] or "")
    return str((joined.data.get("in_flight") or {}).get("text", ""))


def reset_frame(reset: Reset) -> Json:
    """A reset as its frame."""
    return {"kind": "reset", **facts_of(reset)}


def facts_of(reset: Reset) -> Json:
    """The facts of a reset."""
    return {name: getattr(reset, name) for name in ("reason", "requested", "oldest", "head")}


def show_loss(facts: Json, *, as_json: bool) -> None:
    """Where events are shown one a line: what is lost, by the facts of a reset, and where it goes on."""
    if as_json:
        write_json_line({"kind": "reset", **facts})
    else:
        note(f"{loss_in_words(facts)}; going on after {facts.get('head')}")


def loss_in_words(facts: Json) -> str:
    """What a cursor that cannot be honoured means for its reader."""
    why = _LOSSES.get(facts.get("reason", ""), "it is no event that is kept")
    return (
        f"cannot go on after {facts.get('requested')}: {why}; "
        f"kept is {facts.get('oldest')} to {facts.get('head')}"
    )


_LOSSES: Final = {
    "retention": "what followed it was dropped by retention and is lost",
    "generation": "it is no event of this log, such as one that a crash took back",
    "ahead": "the log does not reach so far",
}


def input_text(data: Json) -> str:
    """The text of a `user_message` or a `system_item`."""
    if "segments" in data:
        return "".join(segment.get("content") or "" for segment in data["segments"])
    item = data.get("item")
    content = item.get("content") if isinstance(item, dict) else item
    return content if isinstance(content, str) else json.dumps(item)


def _speech(joined: Joined) -> Any:
    told = joined.data["worker"] if joined.version == 2 else joined.data.get("greeting") or {}
    return told.get("speech")


def _in_colour() -> bool:
    return is_terminal() and not os.environ.get("NO_COLOR")
