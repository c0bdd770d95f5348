"""An amount of bytes as people write it: `4096`, `64K`, `512M`, `1.5G`, each step 1024."""

from __future__ import annotations

import re
from typing import Final

AMOUNT_FORM: Final = "a size such as 4096 (bytes), 64K, 512M or 2G"

_SIZE: Final = re.compile(r"(\d{1,18}|\d{1,18}\.\d{1,6}(?=[kmgt]))([kmgt]?)(?:i?b)?\Z", re.ASCII)
_UNITS_BYTES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def amount_bytes(text: str) -> int | None:
    """The bytes that a text says; None when it says none."""
    match = _SIZE.match(text.strip().lower())
    return None if match is None else round(float(match[1]) * _UNITS_BYTES[match[2]])
