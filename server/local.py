"""What a server leaves on this machine for its own user: a token and where it listens.

    <state>/token                       the local token, mode 0600
    <state>/servers/<runtime_id>.json   one file a running server, mode 0600
    <state>/store                       where `serve` keeps journals when no --fs-root is given

`<state>` is `$WATCHGLASS_STATE_DIR`, else `$XDG_STATE_HOME/watchglass`, else
`~/.local/state/watchglass`; what is made here is mode 0700. Files appear whole
or not at all. A server that was killed leaves its file behind; whoever looks
next sees that the process is gone and removes it.

Standard library alone, and little of it: the command line imports this before
anything else and must start fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

TOKEN_BYTES_MAX = 4096
TOKEN_RANDOM_BYTES = 32
_DISCOVERY_BYTES_MAX = 64 << 10


class LocalFault(Exception):
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


def state_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where the state of this user is; it may not exist yet. A relative path counts as unset."""
    environ = os.environ if environ is None else environ
    own, shared = environ.get("WATCHGLASS_STATE_DIR", ""), environ.get("XDG_STATE_HOME", "")
    if own.startswith("/"):
        return Path(own)
    if shared.startswith("/"):
        return Path(shared) / "watchglass"
    return Path.home() / ".local" / "state" / "watchglass"


def make_private(directory: Path) -> None:
    """Make a folder of this user alone, unless it is there. Raises LocalFault: others may write to it."""
    with _told("make", directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o022:
            raise LocalFault(f"{directory}: others may write here; run 'chmod 700 {directory}'")


def token_path(state: Path) -> Path:
    """Where the local token is, or will be."""
    return state / "token"


def store_root(state: Path) -> Path:
    """Where the store on disk is unless `serve` is told another place; it may not exist yet."""
    return state / "store"


def local_token(state: Path) -> str:
    """The token of this state directory, made when there is none.

    Raises:
        LocalFault: Others may read it or replace it, it is empty, or it cannot be made.
    """
    make_private(state)
    path = token_path(state)
    with _told("make", path):
        if not path.exists():
            _place_new(path, secrets.token_urlsafe(TOKEN_RANDOM_BYTES) + "\n")
    return read_token(path)


def read_token(path: Path) -> str:
    """The token in a file that nobody else can read.

    Raises:
        LocalFault: It cannot be read, others can read it, or it is empty.
    """
    with _told("read", path), path.open("rb") as file:
        mode = os.fstat(file.fileno())
        if mode.st_uid != os.geteuid() or stat.S_IMODE(mode.st_mode) & 0o077:
            raise LocalFault(f"{path}: others may read this token; run 'chmod 600 {path}' or remove it")
        text = file.read(TOKEN_BYTES_MAX).decode("utf-8", "replace").strip()
    if not text:
        raise LocalFault(f"{path}: is empty; remove it, and the next start makes a new token")
    return text


def announce(state: Path, discovery: Discovery) -> None:
    """Let this user's clients find a server. Raises LocalFault."""
    make_private(state)
    servers = state / "servers"
    make_private(servers)
    path = _discovery_path(state, discovery.runtime_id)
    fresh = servers / f".{discovery.runtime_id}.{discovery.pid}.new"
    with _told("write", path):
        _write_new(fresh, json.dumps(asdict(discovery)) + "\n")
        fresh.replace(path)


def withdraw(state: Path, runtime_id: str, pid: int) -> None:
    """Take a server's file away, unless another server has replaced it."""
    path = _discovery_path(state, runtime_id)
    found = _read(path)
    if found is not None and found.pid == pid:
        path.unlink(missing_ok=True)


def discovered(state: Path) -> list[Discovery]:
    """The running servers of this user, the newest first; files of dead ones are removed."""
    alive: list[Discovery] = []
    for path in (state / "servers").glob("*.json"):
        found = _read(path)
        if found is None:
            continue
        if start_ticks(found.pid) == found.pid_start_ticks:
            alive.append(found)
        else:
            withdraw(state, found.runtime_id, found.pid)
    return sorted(alive, key=lambda found: found.started_at, reverse=True)


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # The name before may hold spaces and ')'.


def _discovery_path(state: Path, runtime_id: str) -> Path:
    return state / "servers" / f"{runtime_id}.json"


def _read(path: Path) -> Discovery | None:
    """What a file tells, or None for one that no server of ours wrote."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_DISCOVERY_BYTES_MAX))
        return Discovery(**{name: told[name] for name in Discovery.__slots__})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _place_new(path: Path, text: str) -> None:
    """Make a file with its text in it, unless somebody was faster."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    _write_new(fresh, text)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        fresh.unlink()


def _write_new(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # Left by a process that had our number and was killed.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


@contextlib.contextmanager
def _told(operation: str, path: Path) -> Iterator[None]:
    """What the operating system refuses, in one line."""
    try:
        yield
    except OSError as fault:
        raise LocalFault(f"cannot {operation} {path}: {fault.strerror or fault}") from fault
