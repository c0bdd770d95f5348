"""Where `serve` listens, by which names it is reached, and what it needs where others reach it."""

from __future__ import annotations

import ipaddress
import re

from watchglass.protocol.errors import shown

from .config_error import ConfigError
from .given_token import Secret

_PORT_MAX = 65535
_BIND = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})\Z")
_ORIGIN = re.compile(r"(?:[a-z][a-z0-9+.-]*://[^/\s]+|null)\Z")


def bind_address(bind: str) -> tuple[str, int]:
    """The host and the port of `HOST:PORT`. Raises ConfigError."""
    match = _BIND.match(bind)
    if match is None:
        raise ConfigError(f"--bind {shown(bind)}: use HOST:PORT, such as 127.0.0.1:0 or [::1]:8080")
    port = int(match["port"])
    if port > _PORT_MAX:
        raise ConfigError(f"--bind {shown(bind)}: port {port} is out of range; {_PORT_MAX} is the most")
    host = match["host"] or match["v6"]
    if match["v6"] is not None and not _is_ipv6(host):
        raise ConfigError(f"--bind {shown(bind)}: {shown(host)} is no IPv6 address")
    return host.lower(), port


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than localhost counts as not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, bind: str, token: Secret | None, *, no_auth: bool) -> None:
    """Raises ConfigError: others reach this address and there is no token, or the flags contradict."""
    if no_auth and token is not None:
        raise ConfigError("--no-auth: leave it out, or leave out the token")
    if is_loopback(host):
        return
    if no_auth:
        raise ConfigError(f"--no-auth: not with --bind {shown(bind)}, which others can reach; use a token")
    if token is None:
        raise ConfigError(
            f"--bind {shown(bind)}: others can reach this address, so it needs a token; "
            "give --local-token-file, --local-token-env or --local-token"
        )


def allowed_host(text: str) -> str:
    """A name as a `Host` header has it. Raises ConfigError."""
    if not text.strip() or not text.isascii() or any(mark in text for mark in " /@?#\t\n"):
        raise ConfigError(f"--allow-host {shown(text)}: use NAME or NAME:PORT, without scheme or path")
    return text.lower()


def allowed_origin(text: str) -> str:
    """An origin as a browser sends it. Raises ConfigError."""
    if _ORIGIN.match(text.lower()) is None:
        raise ConfigError(f"--allow-origin {shown(text)}: use SCHEME://HOST[:PORT], as a browser sends it")
    return text.lower()


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
