"""How answers are shown: tables for a terminal, plain columns for a pipe, JSON for programs.

rich is imported for a table on a terminal and for nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Json = dict[str, Any]

SHORT_CHARS_MAX = 120


def is_terminal() -> bool:
    """Whether stdout is a terminal that may be written to in colour."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def write_document(document: Json) -> None:
    """One JSON document."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def write_json_line(thing: Json) -> None:
    """One JSON object on one line, at once."""
    sys.stdout.write(json.dumps(thing, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def write_line(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_bytes(stream: Any, data: bytes) -> None:
    """Exact bytes on stdout or stderr, at once."""
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def note(text: str) -> None:
    """Something for the person who looks, on stderr."""
    print(f"watchglass: {one_line(text)}", file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """A text that a terminal shows as it is: nothing in it moves a cursor or breaks a line."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def short(value: object, chars_max: int = SHORT_CHARS_MAX) -> str:
    """A value as JSON on one line, cut when it is long."""
    text = one_line(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of texts."""
    safe = [[one_line(cell) for cell in row] for row in rows]
    if is_terminal() and _fits([columns, *safe]):
        _write_rich_table(columns, safe)
    else:
        _write_columns([list(columns), *safe])


def _fits(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all columns but the last have their width; squeezed to two letters none can be read."""
    firsts = sum(max(len(row[place]) for row in rows) + 2 for place in range(len(rows[0]) - 1))
    return firsts + _LAST_CHARS_MIN <= shutil.get_terminal_size().columns


_LAST_CHARS_MIN = 8


def write_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:<{width}}  {one_line(value)}")


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of texts for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell), style=_STYLES.get(cell, "")) for cell in row))
    return table


def _write_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console

    Console().print(table_of(columns, rows))


_STYLES = {
    "running": "green",
    "accepted": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "failed": "red",
    "lost": "red",
    "cancelled": "red",
}


def _write_columns(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
