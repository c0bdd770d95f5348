"""What `serve` says of options that it cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.server.config import serve_config
from watchglass.server.config_error import ConfigError
from watchglass.server.flags import ServeFlags


def refusal(**raw: Any) -> str:
    """The one line. `environ` is in place of the process's own."""
    environ = raw.pop("environ", None)
    with pytest.raises(ConfigError) as refused:
        serve_config(ServeFlags(**raw), environ)
    text = str(refused.value)
    assert "\n" not in text
    return text
