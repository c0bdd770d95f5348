"""The file of tokens: one JSON object a line, the token itself in none of them.

    <state>/tokens.jsonl    or where `--tokens-file` says; mode 0600

    {"name":"ci","scope":"observe","worker_id":null,"sha256":"<64 hex>","created_at":"2026-…Z"}

`sha256` is of the token's text. A token has 256 random bits, so its hash gives
nothing away, and needs neither salt nor delay. The file is written by
`watchglass token` and may be written by hand; it is replaced in one step, and
two who change it take turns (flock(2) of its folder).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from watchglass.client.local import LocalFault, told
from watchglass.protocol.identity import id_fault
from watchglass.protocol.scopes import TokenScope

TOKENS_MAX: Final = 10_000
TOKENS_BYTES_MAX: Final = 4 << 20
TOKEN_RANDOM_BYTES: Final = 32
PREFIX: Final = "wg_"
"""So that people, and what looks for secrets in texts, know one when they see it."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEntry:
    """One token of the file."""

    name: str
    scope: TokenScope
    worker_id: str | None
    """The one worker that it is for; None: all."""
    sha256: str
    created_at: str | None = None


def tokens_path(state: Path) -> Path:
    """Where the file is unless another one is named; it need not be there."""
    return state / "tokens.jsonl"


def new_token() -> str:
    """A token that nobody has."""
    return PREFIX + secrets.token_urlsafe(TOKEN_RANDOM_BYTES)


def digest_of(token: bytes) -> bytes:
    """By what a token is known."""
    return hashlib.sha256(token).digest()


def read_tokens(path: Path) -> list[TokenEntry]:
    """The tokens of a file, in its order.

    Raises:
        LocalFault: It cannot be read, others than its owner may read or write it,
            or a line of it is no token; the text names the line.
        FileNotFoundError: It is not there.
    """
    try:
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()))
            text = file.read(TOKENS_BYTES_MAX + 1)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise LocalFault(f"cannot read {path}: {fault.strerror or fault}") from fault
    if len(text) > TOKENS_BYTES_MAX:
        raise LocalFault(f"{path}: is over {TOKENS_BYTES_MAX} bytes")
    return _parsed(path, text)


def change_tokens(path: Path, change: Callable[[list[TokenEntry]], Sequence[TokenEntry]]) -> None:
    """Replace the file by what `change` makes of its tokens; what it raises passes, and nothing is changed.

    Raises:
        LocalFault: As `read_tokens`, or it cannot be written.
    """
    with _turn(path.parent):
        try:
            entries = read_tokens(path)
        except FileNotFoundError:
            entries = []
        changed = change(entries)
        _check_single(path, changed)
        if len(changed) > TOKENS_MAX:
            raise LocalFault(f"{path}: has {TOKENS_MAX} tokens already; revoke some first")
        with told("write", path):
            _replace(
                path, "".join(f"{json.dumps(asdict(entry), separators=(',', ':'))}\n" for entry in changed)
            )


def _check_mode(path: Path, mode: os.stat_result) -> None:
    if mode.st_uid != os.geteuid() or stat.S_IMODE(mode.st_mode) & 0o077:
        raise LocalFault(f"{path}: must be this user's, and nobody else's to read; run 'chmod 600 {path}'")


def _parsed(path: Path, text: bytes) -> list[TokenEntry]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError, KeyError) as fault:
            # Not the line itself: somebody may have put a token there.
            reason = f"{fault.args[0]} is missing" if isinstance(fault, KeyError) else _reason(fault)
            raise LocalFault(f"{path}: line {number} is no token: {reason}") from None
    _check_single(path, entries)
    return entries


def _reason(fault: Exception) -> str:
    return "it is not JSON" if isinstance(fault, json.JSONDecodeError | UnicodeDecodeError) else str(fault)


def _entry(said: object) -> TokenEntry:
    """Raises ValueError, TypeError, KeyError."""
    if not isinstance(said, dict):
        raise TypeError("it is no JSON object")
    for name in ("name", "sha256"):
        if not isinstance(said[name], str):
            raise TypeError(f"{name} is no text")
    fault = id_fault(said["name"])
    if fault is not None:
        raise ValueError(f"name {fault}")
    if _SHA256.match(said["sha256"]) is None:
        raise ValueError("sha256 must be 64 lower-case hex digits")
    if said["scope"] not in set(TokenScope):
        raise ValueError(f"scope must be one of {', '.join(TokenScope)}")
    worker_id = said.get("worker_id")
    if worker_id is not None and (not isinstance(worker_id, str) or id_fault(worker_id) is not None):
        raise ValueError("worker_id is no worker's id")
    return TokenEntry(
        name=said["name"],
        scope=TokenScope(said["scope"]),
        worker_id=worker_id,
        sha256=said["sha256"],
        created_at=said.get("created_at"),
    )


def _check_single(path: Path, entries: Sequence[TokenEntry]) -> None:
    names: set[str] = set()
    hashes: set[str] = set()
    for entry in entries:
        if entry.name in names:
            raise LocalFault(f"{path}: there are two tokens named {entry.name!r}")
        if entry.sha256 in hashes:
            raise LocalFault(f"{path}: {entry.name!r} is the same token as another one")
        names.add(entry.name)
        hashes.add(entry.sha256)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    with told("open", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with told("lock", folder):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)  # Left by a process that had our number and was killed.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
