"""Help that reads like a manual: plain text, options in groups, examples at the end.

The formatter of typer's own (boxes, through rich) costs 60 ms at every error
and does not suit a pipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import typer
from typer.core import TyperCommand

WIDTH_CHARS_MAX: Final = 100
SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH_CHARS_MAX}


class Manual(TyperCommand):
    """A command whose options stand in their groups."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS]`, then the arguments as they name themselves."""
        arguments = [_plain(each)[0] for each in self.get_params(ctx) if _is_argument(each)]
        return ["[OPTIONS]", *arguments]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the options under the heading that each one names."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = _plain(parameter) if _is_argument(parameter) else parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(_heading(parameter), []).append(record)
        common = [sections.pop(name) for name in (REACHING, "Options") if name in sections]
        for heading, records in sections.items():
            _write_section(formatter, heading, records)
        if common:
            _write_section(formatter, REACHING, [record for records in common for record in records])


REACHING: Final = "Which runtime, and how to answer"


def as_command(
    function: Callable[..., None], name: str, group: str, examples: Sequence[str], *, takes_program: bool
) -> Any:
    """A function as a command, with examples below its help.

    Where a program follows, everything after its name is the program's.
    """
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(
        name,
        cls=Manual,
        rich_help_panel=group,
        epilog="\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples),
        context_settings={**SETTINGS, "allow_interspersed_args": not takes_program},
    )(function)
    return typer.main.get_command(one)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _plain(argument: Any) -> tuple[str, str]:
    """How an argument is written, and its help, without a word about its type."""
    return argument.metavar, argument.help


def _heading(parameter: Any) -> str:
    if _is_argument(parameter):
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or "Options"


def _write_section(formatter: Any, heading: str, records: list[tuple[str, str]]) -> None:
    with formatter.section(heading):
        formatter.write_dl(records)
