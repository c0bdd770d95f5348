"""What `serve` says when it does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from watchglass.server.config import serve_config
from watchglass.server.config_error import ConfigError
from watchglass.server.flags import ServeFlags

from support.shell import command


def refusal(**raw: Any) -> str:
    """The one line about flags that cannot be. `environ` is in place of the process's own."""
    environ = raw.pop("environ", None)
    with pytest.raises(ConfigError) as refused:
        serve_config(ServeFlags(**raw), environ)
    text = str(refused.value)
    assert "\n" not in text
    return text


def refused_start(state_dir: Path, *flags: str) -> str:
    """The one line of a process that cannot use what it is told."""
    done = command(state_dir, "serve", *flags)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (2, b"", 1), said
    assert said.startswith("watchglass: ")
    assert "listening" not in said
    return said
