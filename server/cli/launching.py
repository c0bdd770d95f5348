"""From a command line to the request for a worker.

The program is looked up where the caller would find it, and the worker gets
the caller's folder and PATH, so that `create -- python agent.py` means what it
says; of the rest of the environment it gets what was named, and no more.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from .confining import INSIDE_WORKSPACE, LINUX_SANDBOX, RESTRICTED, Confinement
from .faults import CliError, UsageFault
from .options import Notes, Surroundings

Json = dict[str, Any]

SPEECHES: Final = ("text", "jsonl")
STDIN_BYTES_MAX: Final = 2 << 20
"""More than any request may hold: the runtime then says which bound it passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the options of `create`, `run`, `plan` and `submit` say; None: no such option, or not given."""

    command: Sequence[str] = ()
    script: str | None = None
    passive: bool | None = None
    worker_id: str | None = None
    speech: str = "text"
    env: Sequence[str] = ()
    env_files: Sequence[Path] = ()
    cwd: Path | None = None
    first_input: str | None = None
    confinement: Confinement = field(default_factory=Confinement)
    labels: Sequence[str] = ()
    metadata: Sequence[str] = ()
    tenant: str | None = None
    owner: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


_OPTIONS: Final = {"env_file": "env_files", "label": "labels"}
"""Options that may be repeated are named after one of their values."""


def launch_of(given: Mapping[str, Any]) -> Launch:
    """What a command was given, by the names of its parameters; those of no launch are passed by."""
    said = dict(given)
    for group in given.values():
        if isinstance(group, Notes | Surroundings):
            said |= {each.name: getattr(group, each.name) for each in fields(group)}
    named = {_OPTIONS.get(name, name): value for name, value in said.items() if value is not None}
    return Launch(**{each.name: named[each.name] for each in fields(Launch) if each.name in named})


def create_request(launch: Launch) -> Json:
    """The body of `POST /v1/workers`.

    Raises:
        UsageFault: The options contradict each other, or one is malformed.
        CliError: The program is not there, or a file cannot be read.
    """
    if launch.speech not in SPEECHES:
        raise UsageFault(f"--speech {launch.speech!r}: use {' or '.join(SPEECHES)}")
    asked: Json = {"speech": launch.speech}
    execution = _execution(launch)
    if execution is not None:
        asked["execution"] = execution
    if launch.worker_id is not None:
        asked["worker_id"] = launch.worker_id
    if launch.first_input is not None:
        asked["initial_input"] = {"kind": "user", "content": launch.first_input}
    asked.update(launch.confinement.request())
    on_behalf = _on_behalf(launch)
    if on_behalf:
        asked["control_context"] = on_behalf
    if launch.metadata:
        asked["metadata"] = pairs("--metadata", launch.metadata)
    return asked


def _on_behalf(launch: Launch) -> Json:
    said = {"tenant": launch.tenant, "owner": launch.owner}
    labels = {"labels": pairs("--label", launch.labels)} if launch.labels else {}
    return {**labels, **{name: whose for name, whose in said.items() if whose is not None}}


def pairs(flag: str, given: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` texts; of two with the same name the last one holds. Raises UsageFault."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageFault(f"{flag} {text!r}: use NAME=VALUE")
        found[name] = value
    return found


def _execution(launch: Launch) -> Json | None:
    if launch.passive:
        if launch.command or launch.script is not None:
            raise UsageFault("--passive: a passive worker has no process; leave out the program")
        return None
    if launch.script is None and not launch.command:
        or_none = "" if launch.passive is None else ", or --passive"
        raise UsageFault(f"what shall run? give a PROGRAM, or --script FILE{or_none}")
    execution: Json = {"env": _environment(launch), **_folder(launch)}
    if launch.script is not None:
        return {**execution, "kind": "script", "script": _script(launch.script), "args": list(launch.command)}
    return {**execution, "kind": "command", "program": _program(launch), "args": list(launch.command[1:])}


def _keeps_to_its_workspace(launch: Launch) -> bool:
    """Whether the caller's folder would be closed to it."""
    return launch.cwd is None and launch.confinement.filesystem == RESTRICTED


def _is_inside(launch: Launch) -> bool:
    """Whether it runs in a sandbox, where neither the caller's folders nor its PATH are."""
    return launch.confinement.sandbox == LINUX_SANDBOX


def _program(launch: Launch) -> str:
    """The caller's program; a sandbox has its own, and finds it by itself. Raises CliError, UsageFault."""
    name = launch.command[0]
    if _is_inside(launch) and name.strip():
        return name
    return found_program(name, launch.environ.get("PATH"))


def _folder(launch: Launch) -> Json:
    """The caller's folder; a sandbox has none of the caller's, so there it is one inside."""
    if _is_inside(launch):
        return {} if launch.cwd is None else {"cwd": str(INSIDE_WORKSPACE / launch.cwd)}
    if _keeps_to_its_workspace(launch):
        return {}
    return {"cwd": str(Path.cwd() if launch.cwd is None else launch.cwd.absolute())}


def found_program(name: str, path: str | None) -> str:
    """The absolute path of a program, as a shell would find it; links are kept. Raises CliError."""
    if not name.strip():
        raise UsageFault("the PROGRAM is blank")
    if os.path.isabs(name):  # noqa: PTH117 - The runtime says when it is not there: it may be elsewhere.
        return name
    found = shutil.which(name, path=path)
    if found is None:
        place = "here" if "/" in name else "on your PATH"
        raise CliError(f"there is no program {name!r} {place}")
    return os.path.abspath(found)  # noqa: PTH100 - Path.absolute() keeps '..', Path.resolve() follows links.


def _environment(launch: Launch) -> dict[str, str]:
    path = None if _is_inside(launch) else launch.environ.get("PATH")
    found = {} if path is None else {"PATH": path}
    for file in launch.env_files:
        for line in text_of(file, "--env-file").splitlines():
            text = line.strip()
            if text and not text.startswith("#"):
                found.update(_variable(f"--env-file {file}", text, launch.environ))
    for text in launch.env:
        found.update(_variable("--env", text, launch.environ))
    return found


def _variable(source: str, text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """One variable. The text of a value is never shown: it may be a secret."""
    name, equals, value = text.partition("=")
    if not name.strip():
        raise UsageFault(f"{source}: a line has no name before '='")
    if equals:
        return {name: value}
    if name not in environ:
        raise UsageFault(f"{source}: {name!r} is not set in your environment; use NAME=VALUE")
    return {name: environ[name]}


def _script(source: str) -> str:
    if source == "-":
        return stdin_text()
    return text_of(Path(source), "--script")


def stdin_text() -> str:
    """All of stdin. Raises CliError when it is no text."""
    if sys.stdin is None:
        return ""
    try:
        return sys.stdin.buffer.read(STDIN_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise CliError("stdin is not UTF-8 text") from None


def text_of(file: Path, flag: str) -> str:
    """A file that an option names. Raises CliError."""
    try:
        return file.read_text()
    except OSError as fault:
        raise CliError(f"{flag} {file}: {fault.strerror or fault}") from None
    except UnicodeDecodeError:
        raise CliError(f"{flag} {file}: is not UTF-8 text") from None
