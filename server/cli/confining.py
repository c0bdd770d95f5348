"""What a worker may do and use at most, from the options of `create`, `run` and `plan`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

import typer

from watchglass.server.amounts import AMOUNT_FORM, amount_bytes

from .faults import UsageFault

Json = dict[str, Any]

LINUX_SANDBOX: Final = "linux_sandbox"
RESTRICTED: Final = "restricted"
INSIDE_WORKSPACE: Final = PurePosixPath("/workspace")
"""Where a sandboxed worker finds its workspace."""
_PROFILES: Final = ("process", LINUX_SANDBOX)
_NETWORKS: Final = ("none", "host", "proxy")
_FILESYSTEMS: Final = ("host", RESTRICTED)
_UNITS_MS: Final = {"ms": 1, "s": 1000, "": 1000, "m": 60_000, "h": 3_600_000}
_PANEL: Final = "What it may do, and use at most"
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What the options say, each field one of them; None: not asked for."""

    sandbox: Annotated[
        str | None,
        typer.Option(
            "--sandbox",
            metavar="process|linux_sandbox",
            help="A process like any other of yours, or one shut in with its workspace.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="none|host|proxy",
            help="What it reaches: nothing (in linux_sandbox without this), all, or what --allow lists.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="HOST:PORT",
            help="A place that the proxy lets it reach. Repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    filesystem: Annotated[
        str | None,
        typer.Option(
            "--filesystem",
            metavar="host|restricted",
            help="What profile 'process' may touch: all, or its workspace and a system to read.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", metavar="SIZE", help="Of all its processes: 512M, 2G.", rich_help_panel=_PANEL
        ),
    ] = None
    pids: Annotated[
        int | None,
        typer.Option(
            "--pids",
            metavar="N",
            min=1,
            help="How many processes and threads it may have at once.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    wall_time: Annotated[
        str | None,
        typer.Option(
            "--wall-time",
            metavar="TIME",
            help="The most time that it may take: 90 (seconds), 500ms, 10m, 2h.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    cpu_time: Annotated[
        str | None,
        typer.Option(
            "--cpu-time",
            metavar="TIME",
            help="The CPU time of all its processes, in whole seconds: 90, 10m.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    file_size: Annotated[
        str | None,
        typer.Option(
            "--file-size", metavar="SIZE", help="Of each file that it writes: 64M.", rich_help_panel=_PANEL
        ),
    ] = None
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse, where the host cannot give all of this; without it, less is given and told.",
            rich_help_panel=_PANEL,
        ),
    ] = False

    def request(self) -> Json:
        """`sandbox`, `limits` and `policy` of a request; what nobody asked for is left out.

        Raises:
            UsageFault: An option is malformed.
        """
        policy = {"capability_mode": "strict"} if self.strict else {}
        said = {"sandbox": self._sandbox(), "limits": self._limits(), "policy": policy}
        return {name: asked for name, asked in said.items() if asked}

    def _sandbox(self) -> Json:
        network = self.network or ("proxy" if self.allow else None)
        return _given(
            profile=_one_of("--sandbox", self.sandbox, _PROFILES),
            network=_one_of("--network", network, _NETWORKS),
            network_allow=self.allow or None,
            filesystem=_one_of("--filesystem", self.filesystem, _FILESYSTEMS),
        )

    def _limits(self) -> Json:
        cpu_time_ms = None if self.cpu_time is None else time_ms("--cpu-time", self.cpu_time)
        return _given(
            wall_time_ms=None if self.wall_time is None else time_ms("--wall-time", self.wall_time),
            cpu_time_sec=None if cpu_time_ms is None else math.ceil(cpu_time_ms / 1000),
            memory_bytes=None if self.memory is None else size_bytes("--memory", self.memory),
            pids_max=self.pids,
            file_size_bytes=None if self.file_size is None else size_bytes("--file-size", self.file_size),
        )


def time_ms(flag: str, text: str) -> int:
    """A time in milliseconds: `90`, `500ms`, `1.5s`, `10m`, `2h`. Raises UsageFault."""
    match = _TIME.match(text.strip().lower())
    found_ms = 0 if match is None else round(float(match[1]) * _UNITS_MS[match[2]])
    if found_ms <= 0:
        raise UsageFault(f"{flag} {text!r}: use a time such as 90 (seconds), 500ms, 10m or 2h")
    return found_ms


def size_bytes(flag: str, text: str) -> int:
    """A size in bytes: `4096`, `64K`, `512M`, `1.5G`, each step 1024. Raises UsageFault."""
    found = amount_bytes(text)
    if not found:
        raise UsageFault(f"{flag} {text!r}: use {AMOUNT_FORM}")
    return found


def _given(**said: object) -> Json:
    return {name: value for name, value in said.items() if value is not None}


def _one_of(flag: str, said: str | None, words: Sequence[str]) -> str | None:
    if said is not None and said not in words:
        raise UsageFault(f"{flag} {said!r}: use {', '.join(words[:-1])} or {words[-1]}")
    return said
