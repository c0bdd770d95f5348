"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .manual import REACHING

Worker = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id.", show_default=False)]
Workers = Annotated[
    list[str], typer.Argument(metavar="WORKER...", help="One or more worker ids.", show_default=False)
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The runtime's URL; also WATCHGLASS_URL. Without it, the newest one of yours on this machine.",
        rich_help_panel=REACHING,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="PATH",
        help="A file with the token; also WATCHGLASS_TOKEN_FILE, or the token itself in WATCHGLASS_TOKEN.",
        rich_help_panel=REACHING,
    ),
]
RuntimeId = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="ID",
        help="Which one, when several runtimes of yours are running.",
        rich_help_panel=REACHING,
    ),
]
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
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="NAME=VALUE", help="A label, for 'ps --label'. Repeatable.", rich_help_panel=_HOW
    ),
]
MetadataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="NAME=VALUE",
        help="A fact that is kept with it. Repeatable.",
        rich_help_panel=_HOW,
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME[=VALUE]",
        help="A variable; NAME alone copies yours. Of your environment it gets PATH and nothing else.",
        rich_help_panel=_ENVIRONMENT,
    ),
]
EnvFileOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--env-file",
        metavar="PATH",
        help="A file of such lines; '#' begins a comment. Repeatable.",
        rich_help_panel=_ENVIRONMENT,
    ),
]
CwdOption = Annotated[
    Path | None,
    typer.Option(
        "--cwd",
        metavar="PATH",
        help="Where it runs; without this, here. In a sandbox a place inside; without this, and with "
        "--filesystem restricted, its workspace.",
        rich_help_panel=_ENVIRONMENT,
    ),
]
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
_CONFINED = "What it may do, and use at most"
SandboxOption = Annotated[
    str | None,
    typer.Option(
        "--sandbox",
        metavar="process|linux_sandbox",
        help="A process like any other of yours, or one shut in with its workspace.",
        rich_help_panel=_CONFINED,
    ),
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="none|host|proxy",
        help="What it reaches: nothing (in linux_sandbox without this), all, or what --allow lists.",
        rich_help_panel=_CONFINED,
    ),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="HOST:PORT",
        help="A place that the proxy lets it reach. Repeatable.",
        rich_help_panel=_CONFINED,
    ),
]
FilesystemOption = Annotated[
    str | None,
    typer.Option(
        "--filesystem",
        metavar="host|restricted",
        help="What profile 'process' may touch: all, or its workspace and a system to read.",
        rich_help_panel=_CONFINED,
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", help="Of all its processes: 512M, 2G.", rich_help_panel=_CONFINED
    ),
]
PidsOption = Annotated[
    int | None,
    typer.Option(
        "--pids",
        metavar="N",
        min=1,
        help="How many processes and threads it may have at once.",
        rich_help_panel=_CONFINED,
    ),
]
WallTimeOption = Annotated[
    str | None,
    typer.Option(
        "--wall-time",
        metavar="TIME",
        help="The most time that it may take: 90 (seconds), 500ms, 10m, 2h.",
        rich_help_panel=_CONFINED,
    ),
]
CpuTimeOption = Annotated[
    str | None,
    typer.Option(
        "--cpu-time",
        metavar="TIME",
        help="The CPU time of all its processes, in whole seconds: 90, 10m.",
        rich_help_panel=_CONFINED,
    ),
]
FileSizeOption = Annotated[
    str | None,
    typer.Option(
        "--file-size", metavar="SIZE", help="Of each file that it writes: 64M.", rich_help_panel=_CONFINED
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse, where the host cannot give all of this; without it, less is given and told.",
        rich_help_panel=_CONFINED,
    ),
]
