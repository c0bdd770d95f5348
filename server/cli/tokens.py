"""`token`: tokens with fewer rights, in a file that servers read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .faults import CliError, ExitCode, UsageFault
from .showing import note, write_document, write_json_line, write_line, write_table

if TYPE_CHECKING:
    from watchglass.server.tokens_file import TokenEntry

_NEW = "For 'token new'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a new token is to be."""

    scope: Annotated[
        str | None,
        typer.Option(
            "--scope",
            metavar="observe|drive|admin",
            help="What it may do: read; also create, talk to, stop and remove; everything.",
            rich_help_panel=_NEW,
        ),
    ] = None
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What logs and lists call it.", rich_help_panel=_NEW),
    ] = None
    worker: Annotated[
        str | None,
        typer.Option(
            "--worker",
            metavar="ID",
            help="For this worker or task alone; there need not be one yet.",
            rich_help_panel=_NEW,
        ),
    ] = None


def token(
    action: Annotated[str, typer.Argument(metavar="new|list|revoke", help="What to do.", show_default=False)],
    named: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Which one to revoke.", show_default=False),
    ] = None,
    *,
    wanted: Wanted,
    tokens_file: Annotated[
        Path | None,
        typer.Option(
            "--tokens-file",
            metavar="PATH",
            help="As given to 'serve'; without it, tokens.jsonl in the state directory.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make, list and revoke tokens that may do less than the local one.

    A new token is printed once, and only its hash is kept. Servers see a change by themselves: a new token
    works at once, a revoked one no more from the next request on; feeds that it opened end soon after.
    """
    from watchglass.client.local import state_directory
    from watchglass.server.tokens_file import tokens_path

    _check(action, named, wanted)
    path = tokens_file or tokens_path(state_directory())
    if action == "new":
        _new(path, _entry(wanted), is_default=tokens_file is None, as_json=as_json)
    elif action == "list":
        _list(path, as_json=as_json)
    else:
        _revoke(path, named, as_json=as_json)


def _check(action: str, named: str | None, wanted: Wanted) -> None:
    """Raises UsageFault: what is given is for something else."""
    if action not in {"new", "list", "revoke"}:
        raise UsageFault(f"{action!r}: use new, list or revoke")
    if action != "new" and wanted != Wanted():
        raise UsageFault("--scope, --name and --worker are for 'token new'")
    if action != "revoke" and named is not None:
        instead = f"; use --name {named}" if action == "new" else ""
        raise UsageFault(f"{named!r}: a NAME is for 'token revoke'{instead}")


def _entry(wanted: Wanted) -> TokenEntry:
    """A token of this kind, without its hash. Raises UsageFault."""
    from watchglass.protocol.identity import id_fault
    from watchglass.protocol.scopes import TokenScope
    from watchglass.server.tokens_file import TokenEntry

    scope, name, worker = wanted.scope, wanted.name, wanted.worker
    if scope not in set(TokenScope):
        given = "is missing" if scope is None else repr(scope)
        raise UsageFault(f"--scope {given}: use one of {', '.join(TokenScope)}")
    if name is None:
        raise UsageFault("--name: say what to call it")
    for flag, text in (("--name", name), ("--worker", worker)):
        fault = None if text is None else id_fault(text)
        if fault is not None:
            raise UsageFault(f"{flag} {text!r}: {fault}")
    return TokenEntry(name=name, scope=TokenScope(scope), worker_id=worker, sha256="")


def _new(path: Path, entry: TokenEntry, *, is_default: bool, as_json: bool) -> None:
    from dataclasses import replace

    from watchglass.server.local import make_private
    from watchglass.server.tokens_file import change_tokens, digest_of, new_token
    from watchglass.store.numbering import rfc3339, system_clock_us

    text = new_token()
    made = replace(entry, sha256=digest_of(text.encode()).hex(), created_at=rfc3339(system_clock_us()))
    if is_default:
        make_private(path.parent)
    change_tokens(path, lambda entries: _with(path, entries, made))
    if as_json:
        write_json_line({"token": text, "name": made.name, "scope": made.scope, "worker_id": made.worker_id})
    else:
        note(f"this is the only time that the token {made.name!r} is shown; {path} keeps its hash")
        write_line(text)


def _with(path: Path, entries: list[TokenEntry], made: TokenEntry) -> list[TokenEntry]:
    if any(entry.name == made.name for entry in entries):
        raise CliError(
            f"there is a token {made.name!r} already in {path}; "
            "choose another --name, or revoke that one first"
        )
    return [*entries, made]


def _list(path: Path, *, as_json: bool) -> None:
    from watchglass.server.tokens_file import read_tokens

    try:
        entries = read_tokens(path)
    except FileNotFoundError:
        entries = []
    if as_json:
        write_document(
            {
                "tokens": [
                    {
                        "name": entry.name,
                        "scope": entry.scope,
                        "worker_id": entry.worker_id,
                        "created_at": entry.created_at,
                    }
                    for entry in entries
                ]
            }
        )
        return
    write_table(
        ("NAME", "SCOPE", "WORKER", "CREATED"),
        [(entry.name, entry.scope, entry.worker_id or "all", entry.created_at or "") for entry in entries],
    )


def _revoke(path: Path, name: str | None, *, as_json: bool) -> None:
    from watchglass.server.tokens_file import change_tokens

    if name is None:
        raise UsageFault("name the token to revoke; 'token list' lists them")

    def without(entries: list[TokenEntry]) -> Sequence[TokenEntry]:
        left = [entry for entry in entries if entry.name != name]
        if len(left) == len(entries):
            raise CliError(f"there is no token {name!r} in {path}", ExitCode.NOT_FOUND)
        return left

    change_tokens(path, without)
    if as_json:
        write_json_line({"revoked": name})
