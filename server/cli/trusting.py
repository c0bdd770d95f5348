"""`--cacert`: whom a command trusts. Every command that reaches a runtime has it, so none has to name it."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any

from typer.core import TyperOption

from .manual import REACHING

_CACERT: ContextVar[Path | None] = ContextVar("cacert", default=None)


def cacert() -> Path | None:
    """The file that this command line names."""
    return _CACERT.get()


def trusting(command: Any) -> Any:
    """The same command with the option, if it has one for a URL."""
    places = [number for number, each in enumerate(command.params) if each.name == "url"]
    for number in places:
        command.params.insert(number + 1, _option())
    return command


def _option() -> TyperOption:
    return TyperOption(
        param_decls=["--cacert"],
        type=Path,
        metavar="PATH",
        help="Trust the certificates that the authorities in this file signed; also WATCHGLASS_CACERT. A "
        "runtime that is found on this machine needs none.",
        expose_value=False,
        callback=_remember,
        rich_help_panel=REACHING,
    )


def _remember(_context: Any, _parameter: Any, value: Any) -> None:
    _CACERT.set(None if value is None else Path(value))
