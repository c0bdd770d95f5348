"""How the demo looks: a column a worker on a terminal, prefixed lines in a pipe."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from .showing import one_line, short

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = dict[str, Any]

LINES_SHOWN: Final = 14
FRAMES_PER_SECOND: Final = 12
_SHORT_CHARS: Final = 60
_STYLES: Final = ("cyan", "green", "magenta", "yellow")


class Column:
    """What one worker says, as lines; the last one may be growing."""

    def __init__(self) -> None:
        self._open = ""

    def take(self, event: str, data: Json) -> list[str]:
        """The lines that are complete now."""
        if event in {"text_delta", "output"}:
            lines = (self._open + str(data["text"])).split("\n")
            self._open = lines.pop()
            return lines
        if event == "text_done":
            return self._closed()
        if event == "user_message":
            said = "".join(segment.get("content") or "" for segment in data["segments"])
            return [*self._closed(), *(f"> {line}" for line in said.splitlines())]
        return [*self._closed(), f"[{event}] {_shown(data)}".rstrip()]

    @property
    def open(self) -> str:
        """The line that is not complete."""
        return self._open

    def _closed(self) -> list[str]:
        left, self._open = self._open, ""
        return [left] if left else []


class SilentStage:
    """Shows nothing: the answer comes as JSON."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was begun."""

    def say(self, text: str) -> None:
        """Nothing."""

    def show(self, name: str, event: str, data: Json) -> None:
        """Nothing."""


class PlainStage(SilentStage):
    """One line after the other, with the name of who said it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._columns = {name: Column() for name in names}
        self._width = max(map(len, names))
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """The narrator's line."""
        with self._lock:
            self._write("·", text)

    def show(self, name: str, event: str, data: Json) -> None:
        """The lines of a worker."""
        with self._lock:
            for line in self._columns[name].take(event, data):
                self._write(name, line)

    def _write(self, name: str, line: str) -> None:
        sys.stdout.write(f"{name:>{self._width}} | {one_line(line)}\n")
        sys.stdout.flush()


class LiveStage(SilentStage):
    """Columns side by side, drawn again and again; the narrator's lines stay above them."""

    def __init__(self, names: Sequence[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._lock = threading.Lock()
        self._columns = {name: Column() for name in names}
        self._lines: dict[str, deque[str]] = {name: deque(maxlen=LINES_SHOWN) for name in names}
        self._console = Console()
        self._live = Live(
            console=self._console, refresh_per_second=FRAMES_PER_SECOND, get_renderable=self._picture
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """The narrator's line."""
        self._console.print(f"· {text}", markup=False, highlight=False)

    def show(self, name: str, event: str, data: Json) -> None:
        """The lines of a worker."""
        with self._lock:
            self._lines[name].extend(self._columns[name].take(event, data))

    def _picture(self) -> RenderableType:
        from rich.columns import Columns
        from rich.panel import Panel
        from rich.text import Text

        width = max(24, self._console.width // len(self._lines) - 1)
        panels = []
        with self._lock:
            for (name, lines), style in zip(self._lines.items(), _STYLES, strict=False):
                shown = [*lines, self._columns[name].open][-LINES_SHOWN:]
                text = Text("\n".join(one_line(line)[: width - 4] for line in shown), no_wrap=True)
                panels.append(
                    Panel(text, title=name, border_style=style, width=width, height=LINES_SHOWN + 2)
                )
        return Columns(panels, padding=(0, 0))


def _shown(data: Json) -> str:
    if not data:
        return ""
    if set(data) == {"text"}:
        return short(data["text"], _SHORT_CHARS)
    return one_line(json.dumps(data, ensure_ascii=False))[:_SHORT_CHARS]
