"""A feed's query: what can be asked for, and what is refused by parameter, value and bound."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import SEQ_MAX, encode_cursor
from watchglass.protocol.errors import CursorMalformed, InvalidQuery
from watchglass.protocol.start import (
    FILTER_TYPES_MAX,
    TAIL_EVENTS_MAX,
    After,
    Earliest,
    FeedQuery,
    Latest,
    NoPlace,
    Since,
    Tail,
    parse_feed_query,
    parse_start,
    whole_number,
)


@given(st.integers(0, SEQ_MAX))
def test_a_cursor_is_behind_its_event(seq: int) -> None:
    assert parse_start(encode_cursor(seq)) == After(seq)  # type: ignore[arg-type]  # A plain int equals it.


@given(st.integers(0, TAIL_EVENTS_MAX))
def test_a_tail_is_so_many_events(count: int) -> None:
    assert parse_start(f"tail:{count}") == Tail(count)


MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - the zone is drawn.
OFFSETS = st.integers(-23 * 60, 23 * 60)


@given(MOMENTS, OFFSETS)
def test_a_time_is_the_same_moment_in_any_zone(moment: datetime, offset_min: int) -> None:
    utc = moment.replace(tzinfo=timezone.utc)  # noqa: UP017 - as below.
    there = utc.astimezone(timezone(timedelta(minutes=offset_min)))
    expected = Since((utc - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1))  # noqa: UP017
    assert parse_start(f"time:{there.isoformat()}") == expected
    assert parse_start(f"time:{moment.isoformat()}z") == expected


def test_words_are_what_they_say() -> None:
    assert parse_start("earliest") == Earliest()
    assert parse_start("latest") == Latest()
    assert parse_start("time:1900-01-01T00:00:00Z") == Since(0)
    assert parse_start("time:2026-11-22T06:30:00.1234567Z") == parse_start("time:2026-11-22T06:30:00.123456Z")


WRONG = [
    "tail:",
    "tail:-1",
    "tail: 1",
    "tail:1.0",
    f"tail:{TAIL_EVENTS_MAX + 1}",
    "tail:" + "9" * 5000,
    "tail:\u0661",
    "time:",
    "time:now",
    "time:2026-11-22",
    "time:2026-11-22T06:30:00",
    "time:20261122T063000Z",
    "time:2026-02-30T00:00:00Z",
    "time:2026-11-22T06:30:00 02:00",
    "time:2026-11-22T25:00:00Z",
]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:30])
def test_a_tail_or_time_of_the_wrong_form_names_value_and_bound(text: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse_start(text)
    assert (refused.value.parameter, refused.value.value) == ("cursor", text)
    assert ("1000000" if text.startswith("tail") else "RFC 3339") in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("text", ["", "Earliest", " latest", "head", "tail", "wo_1", "TAIL:1"])
def test_anything_else_is_a_malformed_cursor(text: str) -> None:
    with pytest.raises(CursorMalformed):
        parse_start(text)


def test_without_parameters_everything_is_asked_for() -> None:
    assert parse_feed_query({}) == FeedQuery()
    assert parse_feed_query({"unknown": ["1", "2"]}) == FeedQuery()


def test_a_query_says_all_at_once() -> None:
    given_ = {"cursor": ["tail:3"], "types": ["a,b,a"], "on_expired": ["snapshot"], "snapshot": ["none"]}
    assert parse_feed_query(given_) == FeedQuery(
        requested="tail:3", start=Tail(3), types=("a", "b"), on_expired="snapshot", snapshot="none"
    )


def test_the_last_event_id_beats_the_cursor() -> None:
    asked = parse_feed_query({"cursor": ["nonsense"]}, last_event_id="latest")
    assert (asked.requested, asked.start) == ("latest", Latest())
    assert parse_feed_query({"cursor": ["latest"]}, last_event_id="").start == Latest()


def test_what_names_no_place_is_kept_for_who_knows_the_log() -> None:
    assert parse_feed_query({"cursor": ["nonsense"]}).start == NoPlace("nonsense")


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"cursor": ["latest", "latest"]}, "cursor"),
        ({"types": [""]}, "types"),
        ({"types": ["a, ,b"]}, "types"),
        ({"types": ["x" * 129]}, "128"),
        ({"types": [",".join(map(str, range(FILTER_TYPES_MAX + 1)))]}, "64"),
        ({"types": ["a", "b"]}, "more than once"),
        ({"on_expired": ["Close"]}, "close, snapshot"),
        ({"snapshot": [""]}, "auto, none"),
    ],
)
def test_what_is_wrong_is_named(parameters: dict[str, list[str]], named: str) -> None:
    with pytest.raises(InvalidQuery, match=named) as refused:
        parse_feed_query(parameters)
    assert refused.value.parameter in parameters


def test_a_number_has_a_default_and_bounds() -> None:
    assert whole_number({}, "limit", default=7, least=1, most=9) == 7
    assert whole_number({"limit": ["9"]}, "limit", default=7, least=1, most=9) == 9
    for text in ("0", "10", "1.5", "", "+1"):
        with pytest.raises(InvalidQuery, match="use a whole number from 1 to 9"):
            whole_number({"limit": [text]}, "limit", default=7, least=1, most=9)
