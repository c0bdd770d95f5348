"""What `serve` says of options that it cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from watchglass.server.config import serve_config
from watchglass.server.config_error import ConfigError


def refusal(**raw: Any) -> str:
    """The one line."""
    with pytest.raises(ConfigError) as refused:
        serve_config(**raw)
    text = str(refused.value)
    assert "\n" not in text
    return text
