"""Which runtime a client speaks to, and with which token.

a URL that is given, or WATCHGLASS_URL        this one
else the state directory's discovery files    the newest live one, or the one of this id

a token or a token file that is given, WATCHGLASS_TOKEN, WATCHGLASS_TOKEN_FILE,
else the token file that the runtime's discovery file names: the token of a
local runtime goes to that runtime alone.

`trust` says whose certificates are taken where TLS is spoken.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .address import Address
from .faults import NoRuntime, NoToken, NoTrust
from .local import Discovery, LocalFault, Servers, look, read_token, state_directory
from .trust import Trust

_START = "start one with 'watchglass serve', or name one elsewhere by its URL (WATCHGLASS_URL)"
_GIVE = "give another file (WATCHGLASS_TOKEN_FILE), or the token itself (WATCHGLASS_TOKEN)"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the caller says about the runtime; None where it says nothing."""

    url: str | None = None
    token_file: Path | None = None
    runtime_id: str | None = None
    token: str | None = field(default=None, repr=False)
    cacert: Path | None = None


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
        except (NoRuntime, NoToken, NoTrust):
            return self.address  # Not there at the moment; who asks tries again.


def find(choice: Choice, environ: Mapping[str, str] | None = None) -> Found:
    """The runtime to speak to.

    Raises:
        NoRuntime: There is none, or none with this id.
        NoToken: The token cannot be read, or cannot be sent.
        NoTrust: The authorities' file cannot be used.
        ValueError: A URL and an id were given, or the URL is none.
    """
    environ = os.environ if environ is None else environ
    url = choice.url or environ.get("WATCHGLASS_URL") or None
    if choice.url and choice.runtime_id:
        raise ValueError("a URL and a runtime's id were given; give one of them")
    state = state_directory(environ)
    if url is None or choice.runtime_id:
        chosen = _chosen(_look(state), choice.runtime_id, state)
        return Found(
            _address(chosen.url, choice, environ, chosen), choice, environ, chosen.runtime_id, chosen
        )
    known = next((server for server in _known(state) if server.url == url.rstrip("/")), None)
    return Found(_address(url, choice, environ, known), choice, environ, server=known)


def _known(state: Path) -> list[Discovery]:
    """The servers here, if anybody can tell: who gives a URL may do without."""
    try:
        return look(state).running
    except LocalFault:
        return []


def _look(state: Path) -> Servers:
    try:
        return look(state)
    except LocalFault as fault:
        raise NoRuntime(f"{fault}; there are the files by which a runtime is found") from fault


def _chosen(servers: Servers, runtime_id: str | None, state: Path) -> Discovery:
    """The newest one, or the one of this id."""
    if runtime_id is None and servers.running:
        return servers.running[0]
    for server in servers.running:
        if server.runtime_id == runtime_id:
            return server
    raise NoRuntime(_none(servers, runtime_id, state))


def _none(servers: Servers, runtime_id: str | None, state: Path) -> str:
    """Why there is none to choose, and what to do."""
    dead = next((server for server in servers.gone if runtime_id in {None, server.runtime_id}), None)
    if dead is not None:
        again = f"watchglass serve --runtime-id {dead.runtime_id}"
        what = f"the server of runtime {dead.runtime_id!r} (process {dead.pid}) died"
        return f"no runtime is running: {what}; start it again with '{again}'"
    if servers.running:
        ids = ", ".join(server.runtime_id for server in servers.running)
        return f"no runtime {runtime_id!r} is running here; there is {ids}: choose one of them"
    if runtime_id is not None:
        return f"no runtime {runtime_id!r} is running here, nor any other (looked in {state}); {_START}"
    return f"no runtime is running here (looked in {state}); {_START}"


def _address(url: str, choice: Choice, environ: Mapping[str, str], known: Discovery | None) -> Address:
    address = Address(url.rstrip("/"), _token(choice, environ, known), _trust(choice, environ, known))
    address.tls()  # What is wrong with it is told now.
    return address


def _trust(choice: Choice, environ: Mapping[str, str], known: Discovery | None) -> Trust:
    if choice.cacert is not None:
        return Trust(cacert=choice.cacert)
    if known is not None and known.certificate is not None:
        return Trust(certificate=known.certificate)
    named = environ.get("WATCHGLASS_CACERT")
    return Trust(cacert=Path(named)) if named else Trust()


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
        raise NoToken(f"{fault}; {_GIVE}") from fault


def _sendable(token: str, source: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise NoToken(f"{source}: a token is printable ASCII on one line")
    return token
