"""What pydantic finds wrong with a value, as a part of a sentence of ours. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from pydantic_core import ErrorDetails

_CHOSEN: Final = frozenset({"intent", "profile"})
"""Fields whose shape depends on their `kind`, which pydantic puts into the path behind them."""
_KINDS: Final = frozenset({"assistant", "task", "role", "runtime_default", "builtin", "named"})


def reason_of(detail: ErrorDetails) -> str:
    """Why, without the place and the value."""
    message = detail["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return message[:1].lower() + message[1:]


def fields_of(detail: ErrorDetails) -> list[str]:
    """Where, as the names of fields that the caller wrote."""
    path = ["", *map(str, detail["loc"])]
    return [
        name
        for above, name in pairwise(path)
        if name != "[key]" and not (above in _CHOSEN and name in _KINDS)
    ]
