"""What a server leaves on this machine for its own user's clients: a token and where it listens.

    <state>/token                       the local token, mode 0600
    <state>/servers/<runtime_id>.json   one file a running server, mode 0600

`<state>` is `$WATCHGLASS_STATE_DIR`, else `$XDG_STATE_HOME/watchglass`, else
`~/.local/state/watchglass`. Files appear whole or not at all. A server that was
killed leaves its file behind: whoever looks sees that the process is gone and can
say so, and the next server removes it. `server/local.py` writes what is read here.

Standard library alone, and little of it: the command line imports this before
anything else and must start fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from .faults import ClientFault

TOKEN_BYTES_MAX = 4096
_DISCOVERY_BYTES_MAX = 64 << 10


class LocalFault(ClientFault):
    """The state directory cannot be used as it is; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """One running server, as its file tells.

    `pid_start_ticks` (proc(5), stat field 22) tells the process from a later
    one with the same number. `token_file` is None when clients must know the
    token by themselves, or need none.
    """

    url: str
    pid: int
    pid_start_ticks: int
    runtime_id: str
    display_name: str | None
    token_file: str | None
    started_at: str
    certificate: str | None = None
    """The one (PEM) that it shows to who speaks TLS with it, whoever signed it."""


def state_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where the state of this user is; it may not exist yet.

    A relative XDG_STATE_HOME counts as unset (XDG Base Directory Specification);
    our own variable says what it says, from the current folder on.
    """
    environ = os.environ if environ is None else environ
    own, shared = environ.get("WATCHGLASS_STATE_DIR", ""), environ.get("XDG_STATE_HOME", "")
    if own:
        return Path(own).absolute()
    if shared.startswith("/"):
        return Path(shared) / "watchglass"
    return Path.home() / ".local" / "state" / "watchglass"


def token_path(state: Path) -> Path:
    """Where the local token is, or will be."""
    return state / "token"


def read_token(path: Path) -> str:
    """The token in a file that nobody else can read.

    Raises:
        LocalFault: It cannot be read, is another user's, others can read it, or it is empty.
    """
    with told("read", path), path.open("rb") as file:
        mode = os.fstat(file.fileno())
        if mode.st_uid != os.geteuid():
            raise LocalFault(
                f"{path}: belongs to user {mode.st_uid}, who may change it; use a file of your own"
            )
        if stat.S_IMODE(mode.st_mode) & 0o077:
            raise LocalFault(f"{path}: others may read this token; run 'chmod 600 {path}' or remove it")
        text = file.read(TOKEN_BYTES_MAX).decode("utf-8", "replace").strip()
    if not text:
        raise LocalFault(f"{path}: is empty; remove it, and the next start makes a new token")
    return text


@dataclass(frozen=True, slots=True)
class Servers:
    """What the discovery files tell: who runs, the newest first, and who died without a word."""

    running: list[Discovery]
    gone: list[Discovery]


def look(state: Path) -> Servers:
    """The servers of this user.

    Raises:
        LocalFault: The folder with their files cannot be read.
    """
    running: list[Discovery] = []
    gone: list[Discovery] = []
    for path in _files(state / "servers"):
        found = _read(path)
        if found is None:
            continue
        if start_ticks(found.pid) == found.pid_start_ticks:
            running.append(found)
        else:
            gone.append(found)
    return Servers(_newest_first(running), _newest_first(gone))


def withdraw(state: Path, runtime_id: str, pid: int) -> None:
    """Take a server's file away, unless another server has replaced it."""
    path = discovery_path(state, runtime_id)
    found = _read(path)
    if found is not None and found.pid == pid:
        path.unlink(missing_ok=True)


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # The name before may hold spaces and ')'.


def discovery_path(state: Path, runtime_id: str) -> Path:
    """Where the file of this runtime's server is."""
    return state / "servers" / f"{runtime_id}.json"


def _newest_first(servers: list[Discovery]) -> list[Discovery]:
    return sorted(servers, key=lambda server: server.started_at, reverse=True)


def _files(folder: Path) -> list[Path]:
    """Its discovery files; a folder that is not there has none."""
    with told("read", folder):
        try:
            return [entry for entry in folder.iterdir() if entry.suffix == ".json"]
        except FileNotFoundError:
            return []


def _read(path: Path) -> Discovery | None:
    """What a file tells, or None for one that no server of ours wrote."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_DISCOVERY_BYTES_MAX))
        names = [each.name for each in fields(Discovery) if each.name in told]
        return Discovery(**{name: told[name] for name in names})
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def told(operation: str, path: Path, way_out: str = "") -> Iterator[None]:
    """What the operating system refuses, in one line, and what to do. Raises LocalFault."""
    try:
        yield
    except OSError as fault:
        raise LocalFault(f"cannot {operation} {path}: {fault.strerror or fault}{way_out}") from fault
