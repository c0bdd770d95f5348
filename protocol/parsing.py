"""Bytes from outside into models, with errors that name the field.

The only place where a request is validated; behind it there are types alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .base import Wire
from .errors import SHOWN_CHARS_MAX, InvalidJson, InvalidRequest, shown
from .reasons import fields_of, reason_of

M = TypeVar("M", bound=Wire)

_NEVER_SHOWN = frozenset({"env", "script", "content"})
_REASONS_MAX = 3


def decode(model: type[M], body: bytes | str) -> M:
    """The model that a JSON body says.

    Raises:
        InvalidJson: Not JSON, or not UTF-8; the message tells where.
        InvalidRequest: JSON of another shape; the message names the field.
    """
    try:
        decoded = model.model_validate_json(body)
        orjson.loads(body)  # Pydantic lets NaN, Infinity and 1e999 in; what they become is no JSON any more.
    except ValidationError as fault:
        details = fault.errors(include_url=False)
        if details[0]["type"] == "json_invalid":
            raise InvalidJson(f"the body is not JSON: {details[0]['ctx']['error']}") from None
        raise InvalidRequest(_reasons(details)) from None
    except orjson.JSONDecodeError as fault:
        raise InvalidJson(f"the body is not JSON: {fault}") from None
    return decoded


class _Framed(Wire, Generic[M]):
    params: M


def params_decoder(model: type[M]) -> Callable[[str | bytes], M]:
    """What takes the `params` of a frame as a model. The frame is JSON that has some; see `decode`.

    It reads the text and not what somebody else made of it: large integers stay exact.
    """
    framed = _Framed[model]  # type: ignore[valid-type]  # Made once for each model, when the table is.

    def decode_params(frame: str | bytes) -> M:
        try:
            return framed.model_validate_json(frame).params
        except ValidationError as fault:
            details = fault.errors(include_url=False)
            for detail in details:
                detail["loc"] = detail["loc"][1:]
            raise InvalidRequest(_reasons(details)) from None

    return decode_params


def _reasons(details: list[ErrorDetails]) -> str:
    told = [_reason(detail) for detail in details[:_REASONS_MAX]]
    if len(details) > _REASONS_MAX:
        told.append(f"and {len(details) - _REASONS_MAX} more")
    return "; ".join(told)


def _reason(detail: ErrorDetails) -> str:
    if detail["type"].startswith("union_tag_"):
        return _choice(detail)
    return _told(fields_of(detail), reason_of(detail), detail["input"])


def _choice(detail: ErrorDetails) -> str:
    """What is wrong with the field that chooses among shapes."""
    name = detail["ctx"]["discriminator"].strip("'")
    place = [*fields_of(detail), name]
    if detail["type"] == "union_tag_not_found":
        return _told(place, "field required", ())
    return _told(place, f"input should be one of {detail['ctx']['expected_tags']}", detail["input"][name])


def _told(place: list[str], reason: str, value: Any) -> str:
    shown_place = ".".join(map(_shown_part, place)) or "body"
    return f"{shown_place}: {reason}{_got(place, value)}"


def _shown_part(part: str) -> str:
    """A key of the caller's may be long, and `NAME=value` where a name belongs holds a secret."""
    name, equals, _ = part.partition("=")
    return f"{name[:SHOWN_CHARS_MAX]}…" if equals or len(name) > SHOWN_CHARS_MAX else name


def _got(place: list[str], value: Any) -> str:
    secret = not _NEVER_SHOWN.isdisjoint(place)
    if secret or not isinstance(value, str | int | float | bool | None):
        return ""
    return f" (got {shown(value)})"
