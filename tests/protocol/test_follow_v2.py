"""`protocol.follow` over version 2 of the feed: the same promises, and what that version adds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.follow import (
    BACKOFF_FIRST_S,
    GAPS_MAX,
    RETRY_AFTER_MAX_S,
    SUBPROTOCOL_V2,
    Following,
    OnExpired,
)
from watchglass.protocol.said import Farewell, FeedRefused, FeedViolation, Joined, Reset, Said, Told

WORKER = "wk-1"

Json = dict[str, Any]


def hello(resumed: int, *, as_of: int | None = None, worker_id: str = WORKER) -> Json:
    head = encode_cursor(resumed if as_of is None else as_of)
    return {"kind": "hello", "as_of": head, "resumed_from": encode_cursor(resumed), "worker_id": worker_id}


def snapshot(as_of: int, phase: str = "running") -> Json:
    return {
        "kind": "snapshot",
        "as_of": encode_cursor(as_of),
        "worker": {"phase": phase},
        "open": {"text": None, "tool_calls": []},
        "transcript_len": 0,
    }


def events(prev: int, *seqs: int, end: bool = False) -> Json:
    """A frame of these events, each behind the one before it."""
    before = [prev, *seqs[:-1]]
    names = ["text_delta"] * (len(seqs) - 1) + ["end" if end else "text_delta"]
    envelopes = [
        {
            "cursor": encode_cursor(seq),
            "event_id": encode_cursor(seq),
            "worker_id": WORKER,
            "payload": {"event": name, "data": {"text": str(seq)}},
            "prev": encode_cursor(earlier),
        }
        for seq, earlier, name in zip(seqs, before, names, strict=True)
    ]
    return {"kind": "events", "replay": False, "envelopes": envelopes}


def at(kind: str, seq: int) -> Json:
    return {"kind": kind, "cursor": encode_cursor(seq)}


def reset(requested: int, head: int) -> Json:
    asked, newest = encode_cursor(requested), encode_cursor(head)
    return {"kind": "reset", "reason": "retention", "requested": asked, "oldest": newest, "head": newest}


def take(following: Following, *frames: Json) -> list[Said | Farewell]:
    return [said for frame in frames for said in following.take(json.dumps(frame))]


def following_from(after: str | None, on_expired: OnExpired = "close") -> Following:
    following = Following(WORKER, after, on_expired=on_expired)
    following.opened(SUBPROTOCOL_V2)
    return following


@dataclass
class Log:
    """The model: a log, of which every event passes the filter or none that is not in `passing`."""

    seqs: list[int]
    passing: set[int]
    ended: bool

    def connect(self, cursor: str, batch: int) -> list[Json]:
        """What a runtime sends from a cursor, in batches, with a bookmark behind each."""
        position = 0 if cursor == "earliest" else int(cursor[3:], 16)
        frames, prev = [hello(position, as_of=self.seqs[-1] if self.seqs else position)], position
        later = [seq for seq in self.seqs if seq > position]
        for start in range(0, len(later), batch):
            piece = later[start : start + batch]
            wanted = [seq for seq in piece if seq in self.passing]
            if wanted:
                frames.append(events(prev, *wanted))
                prev = wanted[-1]
            frames.append(at("bookmark", piece[-1]))
        frames.append(at("sync", later[-1] if later else position))
        return [*frames, at("end", self.seqs[-1] if self.seqs else position)] if self.ended else frames


@st.composite
def logs(draw: st.DrawFn) -> Log:
    seqs = sorted(draw(st.sets(st.integers(min_value=1, max_value=(1 << 64) - 1), max_size=30)))
    passing = draw(st.sets(st.sampled_from(seqs))) if seqs else set()
    return Log(seqs, passing, draw(st.booleans()))


@given(logs(), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=30), st.integers(1, 5))
def test_over_any_cuts_even_within_a_frame_the_told_events_are_the_log_exactly_once(
    log: Log, cuts: list[tuple[int, int]], batch: int
) -> None:
    following = Following(WORKER, "earliest", types=["text_delta"])
    told: list[int] = []

    def listen(frames: list[Json], events_max: int) -> None:
        for frame in frames:
            for place, said in enumerate(following.take(json.dumps(frame))):
                assert isinstance(said, Told)
                told.append(int(said.cursor[3:], 16))
                if place == events_max:
                    return  # Its reader left in the middle of a batch.

    for frames_until_cut, events_until_cut in [*cuts, (1000, 1000)]:
        if following.ended:
            break
        following.opened(SUBPROTOCOL_V2)
        frames = log.connect(following.query()["cursor"], batch)[:frames_until_cut]
        listen(frames, events_until_cut)
        following.lost(jitter=0.5)
    assert told == [seq for seq in log.seqs if seq in log.passing]
    assert following.ended == log.ended


def test_a_batch_is_told_event_by_event() -> None:
    following = following_from(encode_cursor(3))
    said = take(following, hello(3), snapshot(9), events(3, 5, 7), at("sync", 9), events(7, 11))
    assert [each.kind for each in said] == ["joined", "told", "told", "told"]
    joined = said[0]
    assert isinstance(joined, Joined)
    assert (joined.version, joined.phase, joined.as_of) == (2, "running", encode_cursor(9))
    assert joined.cursor == encode_cursor(3)
    assert following.cursor == encode_cursor(11)


@pytest.mark.parametrize("kind", ["sync", "bookmark"])
def test_a_position_without_an_event_is_resumed_from(kind: str) -> None:
    following = following_from(encode_cursor(3))
    assert take(following, hello(3), at(kind, 8)) == []
    assert following.query() == {"cursor": encode_cursor(8)}


@pytest.mark.parametrize("after", ["tail:3", "time:2026-11-22T06:30:00Z", "latest", None])
def test_a_place_that_the_runtime_found_is_kept_from_the_hello_on(after: str | None) -> None:
    following = following_from(after)
    assert following.query() == {"cursor": after or "latest"}
    take(following, hello(12))
    following.lost(jitter=0.0)
    assert following.query() == {"cursor": encode_cursor(12)}


def test_who_asked_for_the_earliest_asks_for_it_until_something_came() -> None:
    following = following_from("earliest")
    take(following, hello(12))
    assert following.query() == {"cursor": "earliest"}
    take(following, events(12, 13))
    assert following.query() == {"cursor": encode_cursor(13)}


def test_an_event_that_was_left_out_makes_the_reader_come_back_and_is_no_accident_for_ever() -> None:
    following = following_from(encode_cursor(3))
    for _ in range(GAPS_MAX - 1):
        following.opened(SUBPROTOCOL_V2)
        [told_or_gap] = take(following, hello(3), events(4, 5, 6))
        assert isinstance(told_or_gap, Farewell)
        assert following.query() == {"cursor": encode_cursor(3)}
    following.opened(SUBPROTOCOL_V2)
    with pytest.raises(FeedViolation) as caught:
        take(following, hello(3), events(4, 5))
    assert caught.value.kind == "gap"


def test_what_came_before_a_gap_is_told_and_a_whole_feed_forgets_it() -> None:
    following = following_from(encode_cursor(3))
    frame = events(3, 4, 5, 7)
    frame["envelopes"][2]["prev"] = encode_cursor(6)
    assert [said.kind for said in take(following, hello(3), frame)] == ["told", "told", "farewell"]
    following.opened(SUBPROTOCOL_V2)
    assert [said.kind for said in take(following, hello(5), events(5, 6, 7))] == ["told", "told"]


def test_a_reset_is_told_to_who_asked_for_it_and_the_feed_goes_on_after_the_head() -> None:
    following = following_from(encode_cursor(3), "snapshot")
    assert following.query()["on_expired"] == "snapshot"
    said = take(following, hello(20), reset(3, 20), snapshot(20), events(20, 21))
    assert [each.kind for each in said] == ["reset", "joined", "told"]
    told = said[0]
    assert isinstance(told, Reset)
    assert (told.reason, told.requested, told.head) == ("retention", encode_cursor(3), encode_cursor(20))
    assert take(following, reset(21, 30), events(30, 31))[0].kind == "reset"  # Overtaken while it read.


@pytest.mark.parametrize(
    ("frames", "on_expired", "kind"),
    [
        ([events(3, 4)], "close", "order"),
        ([hello(3), hello(3)], "close", "order"),
        ([hello(4)], "close", "order"),  # Not what was asked for, and nobody said so.
        ([hello(20), events(20, 21)], "snapshot", "order"),
        ([hello(3), reset(3, 20)], "close", "order"),
        ([hello(3, worker_id="wk-2")], "close", "foreign"),
        ([hello(3), at("bookmark", 2)], "close", "order"),
        ([hello(3), at("end", 2)], "close", "order"),
        ([hello(3), events(3, 3)], "close", "duplicate"),
        ([hello(3), events(3, 5), events(5, 4)], "close", "order"),
        ([hello(3), {"kind": "events"}], "close", "frame"),
        ([hello(3), {"kind": "events", "envelopes": [1]}], "close", "frame"),
        ([hello(3), {"kind": "sync", "cursor": 7}], "close", "frame"),
        ([hello(3), {"kind": "event", "envelope": {}}], "close", "frame"),
        ([{"kind": "hello"}], "close", "foreign"),
        ([hello(3), {"kind": "snapshot", "as_of": encode_cursor(3)}], "close", "frame"),
    ],
)
def test_what_a_feed_must_never_do_is_a_violation(
    frames: list[Json], on_expired: OnExpired, kind: str
) -> None:
    following = following_from(encode_cursor(3), on_expired)
    with pytest.raises(FeedViolation) as caught:
        take(following, *frames)
    assert caught.value.kind == kind


def test_an_end_without_an_event_ends_it() -> None:
    following = following_from(encode_cursor(3))
    assert take(following, hello(3), at("sync", 3), at("end", 3)) == []
    assert following.ended


def test_a_runtime_that_leaves_says_when_to_come_back() -> None:
    following = following_from(encode_cursor(3))
    bye = {"kind": "diagnostic", "code": "runtime.upstream_closed", "message": "bye", "retry_after_ms": 1500}
    assert take(following, hello(3), at("bookmark", 9), bye) == [Farewell("runtime.upstream_closed", "bye")]
    assert following.lost(jitter=0.0) == 1.5
    assert following.lost(jitter=1.0) == 2 * BACKOFF_FIRST_S
    following.opened(SUBPROTOCOL_V2)
    take(following, hello(9), {**bye, "retry_after_ms": 10**9})
    assert following.lost(jitter=0.0) == RETRY_AFTER_MAX_S


def test_a_diagnostic_that_coming_back_would_not_change_is_final() -> None:
    refused = {"kind": "diagnostic", "code": "runtime.cursor_expired", "message": "gone", "details": {}}
    with pytest.raises(FeedRefused, match="gone") as caught:
        take(following_from(encode_cursor(3)), hello(3), refused)
    assert caught.value.code == "runtime.cursor_expired"


def test_a_server_that_chose_nothing_speaks_version_1() -> None:
    following = Following(WORKER, encode_cursor(3))
    following.opened(None)
    with pytest.raises(FeedViolation, match="unknown kind"):
        take(following, hello(3))
