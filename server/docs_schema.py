"""What Pydantic and Quart know of the interface and do not write into its document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from watchglass.protocol.base import ID_CHARS_MAX

_IDS = frozenset({"worker_id", "task_id"})
_ID = {"type": "string", "pattern": "^[A-Za-z0-9._-]+$", "minLength": 1, "maxLength": ID_CHARS_MAX}
"""As `protocol.identity` takes it, but for `.` and `..`, which no path can have."""


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The same document: ids in a path have their form, and what chooses among shapes is required."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in _IDS:
                    parameter["schema"] = _ID
    for choice in list(_choices(document)):
        _require_tag(choice["discriminator"], document)
    return document


def _choices(node: Any) -> Iterator[dict[str, Any]]:
    """Everything that has one of several shapes, chosen by a field."""
    if isinstance(node, dict):
        if isinstance(node.get("discriminator"), dict):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _choices(each)


def _require_tag(discriminator: dict[str, Any], document: dict[str, Any]) -> None:
    name = discriminator["propertyName"]
    for reference in discriminator["mapping"].values():
        model = document["components"]["schemas"][reference.rpartition("/")[2]]
        model["required"] = sorted({name, *model.get("required", ())})
