"""The base of every body and frame, and the bounded texts they are made of.

Every input has a bound, and the refusal names it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

BODY_BYTES_MAX = 1 << 20
INPUT_CONTENT_BYTES_MAX = 256 << 10
ENV_BYTES_MAX = 128 << 10
ARGS_BYTES_MAX = 128 << 10
ID_CHARS_MAX = 128
NAME_CHARS_MAX = 128
TEXT_CHARS_MAX = 64 << 10
METADATA_ENTRIES_MAX = 64
PRODUCED_EVENTS_MAX = 10_000
WEBSOCKET_INBOUND_BYTES_MAX = 64 << 10


class Wire(BaseModel):
    """Base of every body and frame. Fields are only ever added."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, ser_json_inf_nan="null")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


Name = Annotated[str, StringConstraints(max_length=NAME_CHARS_MAX), AfterValidator(_not_blank)]
Text = Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX)]
SaidText = Annotated[Text, AfterValidator(_not_blank)]
OsText = Annotated[str, AfterValidator(_no_nul)]
"""A text that reaches the operating system: an argument, a path, a variable."""
SaidOsText = Annotated[OsText, AfterValidator(_not_blank)]
