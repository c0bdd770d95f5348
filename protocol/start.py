"""Where a reader asks to begin, and how: the query of a feed, the same on every transport (docs/feed.md).

    cursor=       wo_… | earliest | latest | tail:<n> | time:<RFC 3339>
    types=        names of events, comma separated; none: all
    on_expired=   close | snapshot
    snapshot=     auto | none

Pure. Version 1 of the feed takes `cursor` alone, as the contract says it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, Literal, TypeVar, cast, get_args

from .base import NAME_CHARS_MAX
from .cursor import Seq, decode_cursor
from .errors import CursorMalformed, InvalidQuery

EARLIEST: Final = "earliest"
LATEST: Final = "latest"
TAIL_EVENTS_MAX: Final = 1_000_000
FILTER_TYPES_MAX: Final = 64

OnExpired = Literal["close", "snapshot"]
SnapshotWish = Literal["auto", "none"]
T = TypeVar("T", bound=str)

_TAIL, _TIME = "tail:", "time:"
_WHOLE = re.compile(r"[0-9]{1,18}\Z")
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})\Z", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - one name for it, as in the standard.
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class After:
    """Behind the event that has this sequence."""

    seq: Seq


@dataclass(frozen=True, slots=True)
class Earliest:
    """Before the oldest kept event."""


@dataclass(frozen=True, slots=True)
class Latest:
    """Behind the newest event, as of the join."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Before the newest so many events; before all kept ones when there are fewer."""

    events: int


@dataclass(frozen=True, slots=True)
class Since:
    """Before the first event of this time or later, in µs since 1970."""

    time_us: int


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Text that names none. It is refused where the log is known, with what is kept of it."""

    text: str


Start = After | Earliest | Latest | Tail | Since | NoPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedQuery:
    """What a reader asks for. `requested` is its place in its own words."""

    requested: str = EARLIEST
    start: Start = Earliest()
    types: tuple[str, ...] | None = None
    on_expired: OnExpired = "close"
    snapshot: SnapshotWish = "auto"


def parse_start(text: str) -> Start:
    """The place that a text names.

    Raises:
        InvalidQuery: `tail:` or `time:` of the wrong form, or over the bound.
        CursorMalformed: None of these words, and no cursor.
    """
    if text == EARLIEST:
        return Earliest()
    if text == LATEST:
        return Latest()
    if text.startswith(_TAIL):
        return Tail(
            _bounded("cursor", text, text.removeprefix(_TAIL), 0, TAIL_EVENTS_MAX, form=f"{_TAIL} and a")
        )
    if text.startswith(_TIME):
        return Since(_time_us(text))
    return After(decode_cursor(text))


def parse_feed_query(
    parameters: Mapping[str, Sequence[str]], *, last_event_id: str | None = None
) -> FeedQuery:
    """What query parameters ask for; unknown ones are ignored. `last_event_id` beats `cursor`.

    A cursor that is none becomes `NoPlace`.

    Raises:
        InvalidQuery: Naming the parameter and the value at fault.
    """
    requested = last_event_id or _single(parameters, "cursor")
    requested = EARLIEST if requested is None else requested
    return FeedQuery(
        requested=requested,
        start=_place(requested),
        types=_types(_single(parameters, "types")),
        on_expired=_one_of(parameters, "on_expired", cast("tuple[OnExpired, ...]", get_args(OnExpired))),
        snapshot=_one_of(parameters, "snapshot", cast("tuple[SnapshotWish, ...]", get_args(SnapshotWish))),
    )


def _place(requested: str) -> Start:
    try:
        return parse_start(requested)
    except CursorMalformed as fault:
        return NoPlace(fault.value)


def whole_number(
    parameters: Mapping[str, Sequence[str]], name: str, *, default: int, least: int, most: int
) -> int:
    """A parameter that is a number between bounds. Raises InvalidQuery."""
    text = _single(parameters, name)
    return default if text is None else _bounded(name, text, text, least, most)


def _single(parameters: Mapping[str, Sequence[str]], name: str) -> str | None:
    given = parameters.get(name, ())
    if len(given) > 1:
        raise InvalidQuery(name, ", ".join(given), "is given more than once")
    return given[0] if given else None


def _one_of(parameters: Mapping[str, Sequence[str]], name: str, words: tuple[T, ...]) -> T:
    """One of the words; the first when nothing is said."""
    text = _single(parameters, name)
    if text is None:
        return words[0]
    for word in words:
        if word == text:
            return word
    raise InvalidQuery(name, text, f"use one of {', '.join(words)}")


def _bounded(name: str, value: str, digits: str, least: int, most: int, form: str = "a") -> int:
    if _WHOLE.match(digits) is None or not least <= int(digits) <= most:
        raise InvalidQuery(name, value, f"use {form} whole number from {least} to {most}")
    return int(digits)


def _time_us(value: str) -> int:
    text = value.removeprefix(_TIME)
    refused = InvalidQuery(
        "cursor", value, "use time: and an RFC 3339 time, such as 2026-11-22T06:30:00Z (write + as %2B)"
    )
    if _RFC3339.match(text) is None:
        raise refused
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise refused from None
    return max(0, (moment - _EPOCH) // _MICROSECOND)


def _types(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(text.split(",")))
    if len(names) > FILTER_TYPES_MAX:
        raise InvalidQuery("types", text, f"names {len(names)} types, and {FILTER_TYPES_MAX} is the most")
    for name in names:
        if not name.strip() or len(name) > NAME_CHARS_MAX:
            raise InvalidQuery(
                "types", text, f"use names of events of 1 to {NAME_CHARS_MAX} characters, comma separated"
            )
    return names
