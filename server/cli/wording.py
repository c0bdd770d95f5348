"""What typer refuses of a command line, in words of ours: which option, which value, what would do."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import typer

REFUSED: Final = cast(type[Exception], typer.BadParameter.__mro__[2])
"""The base of what typer raises for a wrong command line; typer has no public name for it."""

_SAID: Final = (
    (r"invalid value for '([^']+)': (.*)", r"\1 \2"),
    (r"(-\w) / (--\S+)", r"\2"),
    (r"('.*') is not a valid (?:int|integer)(?: range)?", r"\1: use a whole number"),
    (r"('.*') is not a valid float(?: range)?", r"\1: use a number"),
    (r" (\S+) is not in the range x>=([\d.]+)", r" \1: use \2 or more"),
    (r" (\S+) is not in the range ([\d.]+)<=x<=([\d.]+)", r" \1: use \2 to \3"),
    (r"('.*') is not one of (.+)", r"\1: use one of \2"),
    (r"option '([^']+)' requires an argument", r"\1: its value is missing"),
    (r"option '([^']+)' does not take a value", r"\1: it takes no value"),
    (r"got unexpected extra arguments? ?(?:\(s\) )?\((.*)\)", r"\1: more than it takes"),
    (r"missing argument '\[?([^']+?)\]?(?:\.\.\.)?'", r"\1 is missing"),
    (
        r"(no such (?:option|command):?) ([^.( ]+)\.? \(?(?:Possible options: |Did you mean )(.*?)[)?]+$",
        r"\1 \2; did you mean \3?",
    ),
)


def worded(refusal: Any) -> str:
    """What typer says, as a part of our line."""
    said = " ".join(refusal.format_message().split()).rstrip(".")
    said = said[:1].lower() + said[1:]
    for theirs, ours in _SAID:
        said = re.sub(theirs, ours, said)
    return said


def command_of(refusal: Any, otherwise: str) -> str:
    """Whose command line it is; typer knows it of most refusals."""
    context = refusal.ctx
    return otherwise if context is None else str(context.command_path)
