"""The promises of `protocol.follow`: exactly once, in order, over any cuts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.errors import CursorMalformed
from watchglass.protocol.events import Event
from watchglass.protocol.follow import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    CLOSED_NORMALLY,
    RETRYABLE,
    STEADY_S,
    Following,
    backoff_s,
)
from watchglass.protocol.frames import (
    FeedDiagnosticCode,
    diagnostic_frame,
    encode_envelope,
    encode_snapshot,
    event_frame,
)
from watchglass.protocol.said import Farewell, FeedRefused, FeedViolation, Joined, Said, Told

WORKER = "wk-1"


def take(following: Following, frame: str | bytes) -> Said | Farewell:
    """The one thing that a frame of version 1 says."""
    [said] = following.take(frame)
    return said


def event(seq: int, name: str = "text_delta", worker_id: str = WORKER) -> bytes:
    return event_frame(encode_envelope(seq, worker_id, "t", Event(name, {"text": str(seq)})))


def snapshot(seq: int, *, head: int | None = None, phase: str = "running") -> bytes:
    data = {"phase": phase, "as_of": encode_cursor(seq if head is None else head)}
    return event_frame(encode_snapshot(seq, WORKER, "t", data))


@dataclass
class Log:
    """The model: what a runtime has written, and what it would send from a cursor."""

    seqs: list[int]
    ended: bool
    written: int = 0
    frames: list[bytes] = field(default_factory=list)

    def connect(self, cursor: str | None) -> list[bytes]:
        head = self.seqs[self.written - 1] if self.written else 0
        position = {None: head, "earliest": 0}.get(cursor)
        if position is None:
            position = int(str(cursor)[3:], 16)
        later = [seq for seq in self.seqs if seq > position]
        return [snapshot(position, head=head), *(self._event(seq) for seq in later)]

    def _event(self, seq: int) -> bytes:
        return event(seq, "end" if self.ended and seq == self.seqs[-1] else "text_delta")


logs = st.builds(
    Log,
    st.lists(st.integers(min_value=1, max_value=(1 << 64) - 1), unique=True, max_size=30).map(sorted),
    st.booleans(),
)


@given(logs, st.lists(st.integers(min_value=0, max_value=8), max_size=40), st.data())
def test_over_any_cuts_the_told_events_are_the_log_exactly_once(
    log: Log, cuts: list[int], data: st.DataObject
) -> None:
    following = Following(WORKER, "earliest")
    told: list[int] = []
    for frames_until_cut in [*cuts, len(log.seqs) + 1]:
        if following.ended:
            break
        log.written = data.draw(st.integers(min_value=log.written, max_value=len(log.seqs)))
        following.opened()
        for frame in log.connect(following.cursor)[:frames_until_cut]:
            said = take(following, frame)
            if isinstance(said, Told):
                told.append(int(said.cursor[3:], 16))
        if not following.ended:
            assert following.lost(jitter=0.5) > 0
    assert told == log.seqs
    assert following.ended == (log.ended and bool(log.seqs))


@given(st.integers(min_value=0, max_value=40), st.floats(min_value=0, max_value=1))
def test_a_wait_doubles_is_jittered_and_bounded(losses: int, jitter: float) -> None:
    wait_s = backoff_s(losses, jitter)
    longest = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**losses)
    assert longest / 2 <= wait_s <= longest


@given(losses=st.integers(0, 40))
def test_the_dice_spread_a_wait_over_the_second_half_of_it(losses: int) -> None:
    """Or a thousand readers of a restarted server would come back in one moment."""
    waits = [backoff_s(losses, jitter) for jitter in (0.0, 0.5, 1.0)]
    assert waits == [pytest.approx(part * waits[-1]) for part in (0.5, 0.75, 1.0)]


def test_a_reader_from_now_on_resumes_from_the_snapshot_when_cut_before_an_event() -> None:
    following = Following(WORKER)
    following.opened()
    assert following.cursor is None
    assert isinstance(take(following, snapshot(7)), Joined)
    following.lost(jitter=0.0)
    assert following.cursor == encode_cursor(7)


def test_the_snapshot_of_a_resumed_feed_does_not_move_the_reader() -> None:
    following = Following(WORKER, encode_cursor(3))
    following.opened()
    take(following, snapshot(9))
    assert following.cursor == encode_cursor(3)
    assert isinstance(take(following, event(4)), Told)


def test_waits_grow_while_nothing_comes_and_start_again_after_an_event() -> None:
    following = Following(WORKER, "earliest")
    waits = [following.lost(jitter=1.0) for _ in range(3)]
    assert waits == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    following.opened()
    take(following, snapshot(0))
    take(following, event(1))
    assert following.lost(jitter=1.0) == BACKOFF_FIRST_S


def test_a_connection_that_lasted_makes_the_next_wait_a_first_one() -> None:
    following = Following(WORKER, "earliest")
    for _ in range(5):
        following.lost(jitter=1.0)
    assert following.lost(jitter=1.0, lasted_s=STEADY_S) == BACKOFF_FIRST_S


def test_a_repeated_event_is_a_violation() -> None:
    following = _joined_at(5)
    with pytest.raises(FeedViolation) as caught:
        take(following, event(5))
    assert caught.value.kind == "duplicate"


def test_an_event_of_the_past_is_a_violation() -> None:
    following = _joined_at(5)
    with pytest.raises(FeedViolation) as caught:
        take(following, event(4))
    assert caught.value.kind == "order"


def test_an_event_of_another_worker_is_a_violation() -> None:
    following = _joined_at(5)
    with pytest.raises(FeedViolation) as caught:
        take(following, event(6, worker_id="wk-2"))
    assert caught.value.kind == "foreign"


def test_an_event_before_the_snapshot_is_a_violation() -> None:
    following = Following(WORKER, encode_cursor(5))
    following.opened()
    with pytest.raises(FeedViolation):
        take(following, event(6))


def test_a_second_snapshot_is_a_violation() -> None:
    following = _joined_at(5)
    with pytest.raises(FeedViolation):
        take(following, snapshot(6))


@pytest.mark.parametrize("odd", [{"phase": {}}, {"phase": []}, {"status": 5}, {"as_of": "wo_"}])
def test_a_snapshot_that_is_at_fault_is_a_violation_and_moves_nobody(odd: dict[str, Any]) -> None:
    following = Following(WORKER)
    following.opened()
    frame = json.loads(snapshot(5))
    del frame["envelope"]["payload"]["data"]["phase"]
    frame["envelope"]["payload"]["data"].update(odd)
    with pytest.raises(FeedViolation) as caught:
        take(following, json.dumps(frame))
    assert caught.value.kind == "frame"
    assert following.cursor is None


def test_a_violation_moves_nobody() -> None:
    following = _joined_at(5)
    with pytest.raises(FeedViolation):
        take(following, event(9, worker_id="wk-2"))
    assert following.cursor == encode_cursor(5)


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        "null",
        '{"kind":"surprise"}',
        '{"kind":"event"}',
        '{"kind":"event","envelope":{}}',
        '{"kind":"event","envelope":{"cursor":"wo_1","worker_id":"wk-1","payload":{}}}',
        '{"kind":"event","envelope":{"cursor":1,"worker_id":"wk-1","payload":{}}}',
        '{"kind":"event","envelope":{"cursor":"wo_0000000000000009","worker_id":"wk-1","payload":null}}',
        json.dumps(
            {
                "kind": "event",
                "envelope": {
                    "cursor": encode_cursor(9),
                    "worker_id": WORKER,
                    "payload": {"event": 1, "data": {}},
                },
            }
        ),
    ],
)
def test_what_is_no_frame_is_a_violation(frame: str) -> None:
    with pytest.raises(FeedViolation) as caught:
        take(_joined_at(5), frame)
    assert caught.value.kind == "frame"


@pytest.mark.parametrize("code", list(FeedDiagnosticCode))
def test_every_diagnostic_says_whether_to_come_back(code: FeedDiagnosticCode) -> None:
    following = _joined_at(5)
    frame = diagnostic_frame(code, "because")
    if code in RETRYABLE:
        assert take(following, frame) == Farewell(code, "because")
        assert following.cursor == encode_cursor(5)
    else:
        with pytest.raises(FeedRefused, match="because") as caught:
            take(following, frame)
        assert caught.value.code == code


def test_an_unknown_diagnostic_is_final() -> None:
    with pytest.raises(FeedRefused):
        take(_joined_at(5), '{"kind":"diagnostic","diagnostic":{"code":"runtime.new","message":"m"}}')


def test_a_worker_that_had_ended_at_the_join_ends_with_a_normal_close() -> None:
    following = Following(WORKER, encode_cursor(5))
    following.opened()
    take(following, snapshot(5, phase="succeeded"))
    assert following.settled
    following.lost(jitter=0.0, close_code=CLOSED_NORMALLY)
    assert following.ended


def test_a_worker_that_had_ended_but_has_more_to_tell_is_not_over() -> None:
    following = Following(WORKER, encode_cursor(5))
    following.opened()
    take(following, snapshot(5, head=6, phase="succeeded"))
    assert not following.settled
    following.lost(jitter=0.0, close_code=CLOSED_NORMALLY)
    assert not following.ended


def test_a_cut_is_never_an_end() -> None:
    following = Following(WORKER, encode_cursor(5))
    following.opened()
    take(following, snapshot(5, phase="succeeded"))
    following.lost(jitter=0.0, close_code=1006)
    assert not following.ended


def test_a_start_that_is_no_cursor_is_refused() -> None:
    with pytest.raises(CursorMalformed):
        Following(WORKER, "yesterday")


def _joined_at(seq: int) -> Following:
    following = Following(WORKER, encode_cursor(seq))
    following.opened()
    take(following, snapshot(seq))
    return following
