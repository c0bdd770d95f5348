"""What a server leaves on this machine for its own user: a token, where it listens, and its store.

`client/local.py` draws the state directory and reads it; here it is written.

    <state>/store    where `serve` keeps journals when no --fs-root is given

What is made here is mode 0700. Files appear whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path

from watchglass.client.local import (
    Discovery,
    LocalFault,
    discovery_path,
    look,
    read_token,
    token_path,
    told,
    withdraw,
)

TOKEN_RANDOM_BYTES = 32


def make_private(directory: Path) -> None:
    """Make a folder of this user alone, unless it is there. Raises LocalFault: others may write to it."""
    with told("make", directory, "; name a folder that you may write in WATCHGLASS_STATE_DIR"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o022:
            raise LocalFault(f"{directory}: others may write here; run 'chmod 700 {directory}'")


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
    with told("make", path):
        if not path.exists():
            _place_new(path, secrets.token_urlsafe(TOKEN_RANDOM_BYTES) + "\n")
    return read_token(path)


def announce(state: Path, discovery: Discovery) -> None:
    """Let this user's clients find a server, and no longer those that died. Raises LocalFault."""
    make_private(state)
    servers = state / "servers"
    make_private(servers)
    for gone in look(state).gone:
        withdraw(state, gone.runtime_id, gone.pid)
    path = discovery_path(state, discovery.runtime_id)
    fresh = servers / f".{discovery.runtime_id}.{discovery.pid}.new"
    with told("write", path):
        _write_new(fresh, json.dumps(asdict(discovery)) + "\n")
        fresh.replace(path)


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
