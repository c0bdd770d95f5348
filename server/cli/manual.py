"""Help that reads like a manual: plain text, options in groups, examples at the end.

The formatter of typer's own (boxes, through rich) costs 60 ms at every error
and does not suit a pipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import typer
from typer.core import TyperCommand

from .grouped import spread

WIDTH_CHARS_MAX: Final = 100
SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH_CHARS_MAX}


class Manual(TyperCommand):
    """A command whose options stand in their groups."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS]`, then the arguments as they name themselves."""
        arguments = [_plain(each)[0] for each in self.get_params(ctx) if _is_argument(each)]
        return ["[OPTIONS]", *arguments]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, the command's own options, then the others under the heading that each one names."""
        sections: dict[str, list[tuple[str, str]]] = {}
        parameters = self.get_params(ctx)
        reaches = any(parameter.name == "url" for parameter in parameters)
        for parameter in parameters:
            record = _plain(parameter) if _is_argument(parameter) else parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(_heading(parameter, reaches=reaches), []).append(record)
        places = {_ARGUMENTS: 0, _OWN: 1 if reaches else 3, REACHING: 4}
        for heading in sorted(sections, key=lambda heading: places.get(heading, 2)):
            _write_section(formatter, heading, sections[heading])


REACHING: Final = "Which runtime, and how to answer"
_ARGUMENTS: Final = "Arguments"
_OWN: Final = "Options"


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
    )(spread(function))
    return typer.main.get_command(one)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _plain(argument: Any) -> tuple[str, str]:
    """How an argument is written, and its help, without a word about its type."""
    return argument.metavar, argument.help


def _heading(parameter: Any, *, reaches: bool) -> str:
    """Where no runtime is reached, nothing stands under the heading of that."""
    if _is_argument(parameter):
        return _ARGUMENTS
    common = parameter.name == "help" or parameter.rich_help_panel == REACHING
    if common:
        return REACHING if reaches else _OWN
    return parameter.rich_help_panel or _OWN


def _write_section(formatter: Any, heading: str, records: list[tuple[str, str]]) -> None:
    with formatter.section(heading):
        formatter.write_dl(records)
