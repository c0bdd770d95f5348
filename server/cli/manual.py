"""Help that reads like a manual: plain text, options in groups, examples at the end.

The formatter of typer's own (boxes, through rich) costs 60 ms at every error
and does not suit a pipe.
"""

from __future__ import annotations

import inspect
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDTH_CHARS_MAX = 100
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH_CHARS_MAX}


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


class ManualGroup(TyperGroup):
    """The commands, in the groups and in the order in which they were registered."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - The signature is typer's.
        """In order of registration."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - As above.
        """One section a group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            groups.setdefault(heading, []).append((name, command.get_short_help_str(WIDTH_CHARS_MAX)))
        for heading, records in groups.items():
            _write_section(formatter, heading, records)


REACHING = "Which runtime, and how to answer"


def command(app: typer.Typer, name: str, group: str, *examples: str) -> Any:
    """Register a function as a command of `app`, with examples below its help."""
    shown = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
    settings = {**_SETTINGS, "allow_interspersed_args": name not in {"create", "run"}}
    return app.command(name, cls=Manual, rich_help_panel=group, epilog=shown, context_settings=settings)


def application(text: str, epilog: str) -> typer.Typer:
    """The program itself."""
    return typer.Typer(
        name="watchglass",
        cls=ManualGroup,
        help=inspect.cleandoc(text),
        epilog=f"\b\n{epilog}",
        context_settings=_SETTINGS,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


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
