"""Options that belong together, as one parameter of a command.

typer reads a command's options from its signature, one parameter an option. Here a
parameter whose type is a dataclass stands for its fields, each of them an option:

    def attach(worker: Worker, *, where: Where) -> None       Where: url, token_file, runtime
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

Command = Callable[..., None]


def spread(command: Command) -> Command:
    """The same command for typer: in the place of a group, its fields. What is not given has its default."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}
    if not groups:
        return command

    def called(**given: Any) -> None:
        said = {name: _taken(kind, given) for name, kind in groups.items()}
        command(**given, **said)

    called.__doc__ = command.__doc__
    parameters = list(_parameters(command, hints))
    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # See inspect.signature.
    return called


def _taken(kind: type[Any], given: dict[str, Any]) -> Any:
    """A group, whose fields are taken out of what was given."""
    said = {field.name: given.pop(field.name) for field in fields(kind)}
    return kind(**{name: value for name, value in said.items() if value is not None})


def _parameters(command: Command, hints: dict[str, Any]) -> Iterator[Parameter]:
    for parameter in signature(command).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _fields(kind)
        else:
            yield parameter.replace(annotation=kind, kind=Parameter.KEYWORD_ONLY)


def _fields(kind: type[Any]) -> Iterator[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        yield Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
