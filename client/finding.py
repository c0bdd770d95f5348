"""Which runtime a client speaks to, and with which token.

a URL that is given, or WATCHGLASS_URL        this one
else the state directory's discovery files    the newest live one, or the one of this id

a token or a token file that is given, WATCHGLASS_TOKEN, WATCHGLASS_TOKEN_FILE,
else the token file that the runtime's discovery file names: the token of a
local runtime goes to that runtime alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .address import Address
from .faults import NoRuntime, NoToken
from .local import Discovery, LocalFault, discovered, read_token, state_directory

NONE_RUNNING = "no runtime is running; start one with 'watchglass serve'"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the caller says about the runtime; None where it says nothing."""

    url: str | None = None
    token_file: Path | None = None
    runtime_id: str | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """A runtime, and how it was found."""

    address: Address
    choice: Choice
    environ: Mapping[str, str]
    runtime_id: str | None = None
    server: Discovery | None = None
    """Its process, when it runs on this machine."""

    def again(self) -> Address:
        """Where the same runtime is now: a restarted one may have another port."""
        if self.runtime_id is None:
            return self.address
        choice = replace(self.choice, url=None, runtime_id=self.runtime_id)
        try:
            return find(choice, self.environ).address
        except (NoRuntime, NoToken):
            return self.address  # Not there at the moment; who asks tries again.


def find(choice: Choice, environ: Mapping[str, str] | None = None) -> Found:
    """The runtime to speak to.

    Raises:
        NoRuntime: There is none, or none with this id.
        NoToken: The token cannot be read, or cannot be sent.
        ValueError: A URL and an id were given, or the URL is none.
    """
    environ = os.environ if environ is None else environ
    url = choice.url or environ.get("WATCHGLASS_URL") or None
    if choice.url and choice.runtime_id:
        raise ValueError("a URL and a runtime's id were given; give one of them")
    running = discovered(state_directory(environ))
    if url is None or choice.runtime_id:
        chosen = _chosen(running, choice.runtime_id)
        return Found(
            _address(chosen.url, choice, environ, chosen), choice, environ, chosen.runtime_id, chosen
        )
    known = next((server for server in running if server.url == url.rstrip("/")), None)
    return Found(_address(url, choice, environ, known), choice, environ, server=known)


def _chosen(running: list[Discovery], runtime_id: str | None) -> Discovery:
    if not running:
        raise NoRuntime(NONE_RUNNING)
    if runtime_id is None:
        return running[0]
    for server in running:
        if server.runtime_id == runtime_id:
            return server
    ids = ", ".join(server.runtime_id for server in running)
    raise NoRuntime(f"no runtime {runtime_id!r} is running here; there is {ids}")


def _address(url: str, choice: Choice, environ: Mapping[str, str], known: Discovery | None) -> Address:
    return Address(url.rstrip("/"), _token(choice, environ, known))


def _token(choice: Choice, environ: Mapping[str, str], known: Discovery | None) -> str | None:
    """The token to send; an empty variable counts as unset."""
    if choice.token is not None:
        return _sendable(choice.token, "the token")
    if choice.token_file is None and environ.get("WATCHGLASS_TOKEN"):
        return _sendable(environ["WATCHGLASS_TOKEN"].strip(), "WATCHGLASS_TOKEN")
    named = choice.token_file or environ.get("WATCHGLASS_TOKEN_FILE") or (known and known.token_file)
    if not named:
        return None
    try:
        return _sendable(read_token(Path(named)), str(named))
    except LocalFault as fault:
        raise NoToken(str(fault)) from fault


def _sendable(token: str, source: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise NoToken(f"{source}: a token is printable ASCII on one line")
    return token
