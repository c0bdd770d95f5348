"""The token that `serve` is given: as it is, in a variable, or in a file. Whatever fails names the flag.

The default token (of the state directory) is looked up by `serving`, because
that may make a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from watchglass.client.local import TOKEN_BYTES_MAX
from watchglass.protocol.errors import shown

from .config_error import ConfigError

_TOKEN = re.compile(r"[\x21-\x7e]+\Z")


class Secret:
    """A text that no repr, log or traceback shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "<redacted>"


def given_token(
    value: str | None, variable: str | None, file: str | os.PathLike[str] | None, environ: Mapping[str, str]
) -> Secret | None:
    """The token from the one source that is given. Raises ConfigError, which never holds a token."""
    given = {"--local-token": value, "--local-token-env": variable, "--local-token-file": file}
    named = [flag for flag, source in given.items() if source is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)}: give one source of the token, not {len(named)}")
    if value is not None:
        return _checked_token("--local-token", value)
    if variable is not None:
        if variable not in environ:
            raise ConfigError(f"--local-token-env {shown(variable)}: this environment variable is not set")
        return _checked_token(f"--local-token-env {shown(variable)}", environ[variable])
    if file is not None:
        return _checked_token(f"--local-token-file {shown(os.fspath(file))}", _token_text(file))
    return None


def given_tokens_file(path: str | os.PathLike[str] | None, *, no_auth: bool) -> Path | None:
    """Where it is; it is read by `serving`, which reads it again when it changes. Raises ConfigError."""
    if path is None:
        return None
    if no_auth:
        raise ConfigError("--no-auth: leave it out, or leave out --tokens-file")
    if not Path(path).is_file():
        raise ConfigError(
            f"--tokens-file {shown(os.fspath(path))}: there is no such file; 'watchglass token new' makes one"
        )
    return Path(path).absolute()


def _token_text(file: str | os.PathLike[str]) -> str:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(TOKEN_BYTES_MAX + 1).decode("utf-8", "replace").strip()
    except OSError as fault:
        raise ConfigError(
            f"--local-token-file {shown(os.fspath(file))}: cannot be read: {fault.strerror or fault}"
        ) from None


def _checked_token(source: str, text: str) -> Secret:
    if not text.strip():
        raise ConfigError(f"{source}: the token is empty")
    if len(text) > TOKEN_BYTES_MAX:
        raise ConfigError(f"{source}: the token is over {TOKEN_BYTES_MAX} bytes")
    if _TOKEN.match(text) is None:
        raise ConfigError(f"{source}: a token is printable ASCII without spaces, for it travels in a header")
    return Secret(text)
