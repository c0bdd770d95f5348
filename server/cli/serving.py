"""`serve`: its options are the rows of `server.flags`, which `server.config` checks."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from watchglass.server.flags import Row, ServeFlags, rows

from .faults import UsageFault


def serve(**given: Any) -> None:
    """Run a runtime until Ctrl-C.

    When it listens, it says so in one line on stderr, and your commands find it. Ctrl-C or 'watchglass drain'
    stops its workers, then itself; a second Ctrl-C does not wait for them. SIGTERM does the same, but with
    --keep-workers (the default of --store fs) it stops the server alone: the workers run on, and the next
    'serve' on the same files adopts them.
    """
    from watchglass.store.garbage import leave_unsearched, not_searched

    with not_searched():  # What is imported stays.
        from watchglass.server.config import serve_config
        from watchglass.server.config_error import ConfigError

    try:
        config = serve_config(ServeFlags(**given))
    except ConfigError as fault:
        raise UsageFault(str(fault)) from None
    with not_searched():
        from watchglass.server.serving import run

    code = run(config)
    leave_unsearched()
    raise typer.Exit(code)


def _parameters() -> Iterator[Parameter]:
    for name, default, row in rows():
        option = typer.Option(
            *_names(name, default, row), metavar=row.metavar, help=row.help, rich_help_panel=row.panel
        )
        kind = bool if row.metavar is None else list[str] if default == () else str
        yield Parameter(
            name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind | None, option]
        )


def _names(name: str, default: object, row: Row) -> Iterator[str]:
    flag = name.replace("_", "-")
    yield f"--{flag}" if row.metavar is not None or default is False else f"--{flag}/--no-{flag}"
    if row.also is not None:
        yield row.also


# typer reads what it offers from a signature; this one is the table's.
serve.__signature__ = Signature(list(_parameters()))  # type: ignore[attr-defined]  # See inspect.signature.
