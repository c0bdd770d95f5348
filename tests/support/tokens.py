"""A tokens file as somebody may write it by hand, and a server asked with one of its tokens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from watchglass.protocol.scopes import Grant, TokenScope

from .serving import Served

PLAIN = {name: Grant(TokenScope(name)) for name in ("observe", "drive", "admin")}
BOUND = {f"{name}-mine": Grant(TokenScope(name), "mine") for name in ("observe", "drive", "admin")}
GRANTS = {**PLAIN, **BOUND}


def written(served: Served, grants: dict[str, Grant]) -> None:
    """Write the file as somebody may by hand: the token of each name is `wg_` and the name."""
    lines = [
        json.dumps(
            {
                "name": name,
                "scope": grant.scope,
                "worker_id": grant.worker_id,
                "sha256": hashlib.sha256(text_of(name).encode()).hexdigest(),
            }
        )
        for name, grant in grants.items()
    ]
    path = served.state_dir / "tokens.jsonl"
    fresh = path.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_text("\n".join(lines))
    fresh.replace(path)


def text_of(name: str) -> str:
    return f"wg_{name}-of-the-test"


def being(served: Served, name: str) -> Served:
    """The same server, asked with the token of this name."""
    return replace(served, token=text_of(name))
