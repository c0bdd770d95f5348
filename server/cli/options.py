"""Options and arguments that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from .manual import REACHING

Worker = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id.", show_default=False)]
Workers = Annotated[
    list[str], typer.Argument(metavar="WORKER...", help="One or more worker ids.", show_default=False)
]
_Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The runtime's URL; also WATCHGLASS_URL. Without it, the newest one of yours on this machine.",
        rich_help_panel=REACHING,
    ),
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="PATH",
        help="A file with the token; also WATCHGLASS_TOKEN_FILE, or the token itself in WATCHGLASS_TOKEN.",
        rich_help_panel=REACHING,
    ),
]
_RuntimeId = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="ID",
        help="Which one, when several runtimes of yours are running.",
        rich_help_panel=REACHING,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which runtime a command is for; None: not said."""

    url: _Url = None
    token_file: _TokenFile = None
    runtime: _RuntimeId = None


AsJson = Annotated[
    bool,
    typer.Option("--json", help="Answer in JSON, as the runtime says it.", rich_help_panel=REACHING),
]
AsJsonLines = Annotated[
    bool,
    typer.Option("--json", help="Answer in JSON, one object a line.", rich_help_panel=REACHING),
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the journal.")
]
DrainReason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the server's log.")
]

_HOW = "What it is"
_ENVIRONMENT = "What it gets"
Command = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[--] PROGRAM [ARG]...", help="The program, and its arguments.", show_default=False
    ),
]
WorkerIdOption = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="The worker's id; made up without this.", rich_help_panel=_HOW),
]
SpeechOption = Annotated[
    str,
    typer.Option(
        "--speech",
        metavar="text|jsonl",
        help="How it speaks: lines of text, or one JSON object a line.",
        rich_help_panel=_HOW,
    ),
]
ScriptOption = Annotated[
    str | None,
    typer.Option(
        "--script",
        metavar="FILE|-",
        help="Run a script of /bin/sh from a file, or from stdin, in place of a PROGRAM.",
        rich_help_panel=_HOW,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is kept with a worker."""

    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME=VALUE",
            help="A label, for 'ps --label'. Repeatable.",
            rich_help_panel=_HOW,
        ),
    ] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            "--metadata",
            metavar="NAME=VALUE",
            help="A fact that is kept with it. Repeatable.",
            rich_help_panel=_HOW,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a worker finds around it."""

    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            "-e",
            metavar="NAME[=VALUE]",
            help="A variable; NAME alone copies yours. Of your environment it gets PATH and nothing else.",
            rich_help_panel=_ENVIRONMENT,
        ),
    ] = None
    env_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--env-file",
            metavar="PATH",
            help="A file of such lines; '#' begins a comment. Repeatable.",
            rich_help_panel=_ENVIRONMENT,
        ),
    ] = None
    cwd: Annotated[
        Path | None,
        typer.Option(
            "--cwd",
            metavar="PATH",
            help="Where it runs; without this, here. In a sandbox a place inside; without this, and with "
            "--filesystem restricted, its workspace.",
            rich_help_panel=_ENVIRONMENT,
        ),
    ] = None


InputOption = Annotated[
    str | None,
    typer.Option("--input", metavar="TEXT", help="What it is told first.", rich_help_panel=_ENVIRONMENT),
]
_WHOSE = "Whose it is"
TenantOption = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="Whose quota it takes from.", rich_help_panel=_WHOSE),
]
OwnerOption = Annotated[
    str | None,
    typer.Option("--owner", metavar="NAME", help="Who alone may kill the task.", rich_help_panel=_WHOSE),
]
