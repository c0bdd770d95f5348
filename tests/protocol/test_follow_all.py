"""Following a whole runtime: the same promises, of more than one worker and without an end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from watchglass.protocol.cursor import encode_cursor
from watchglass.protocol.follow import SUBPROTOCOL_V2, Following
from watchglass.protocol.follow_all import FollowingAll, Workers, following, workers_of
from watchglass.protocol.said import FeedViolation, Joined, Said, Told

Json = dict[str, Any]


def hello(at: int = 0) -> Json:
    return {"kind": "hello", "resumed_from": encode_cursor(at), "as_of": encode_cursor(at), "workers": "*"}


def events(*told: tuple[int, str, str], prev: int = 0) -> Json:
    envelopes = []
    for seq, worker_id, name in told:
        cursor, before = encode_cursor(seq), encode_cursor(prev)
        payload = {"event": name, "data": {}}
        envelopes.append({"cursor": cursor, "worker_id": worker_id, "payload": payload, "prev": before})
        prev = seq
    return {"kind": "events", "replay": False, "envelopes": envelopes}


def told_by(machine: Following, *frames: Json) -> list[Said]:
    machine.opened(SUBPROTOCOL_V2)
    return [said for frame in frames for said in machine.take(orjson.dumps(frame)) if said.kind != "farewell"]


@pytest.mark.parametrize(
    ("workers", "query"),
    [("*", {"workers": "*"}), ("a,b", {"workers": "a,b"}), (["a"], {"workers": "a"}), ((), {}), ("", {})],
)
def test_whose_events_are_wanted_is_asked_for(workers: Any, query: Json) -> None:
    machine = FollowingAll(workers_of(workers), "earliest")
    assert machine.query() == {"cursor": "earliest", **query}


def test_everybodys_events_are_told_in_order_and_no_end_ends_it() -> None:
    machine = following(Workers(None), "earliest")
    said = told_by(machine, hello(), events((1, "a", "end"), (2, "runtime", "worker_stopped"), (3, "b", "x")))
    assert [(each.worker_id, each.name) for each in said if isinstance(each, Told)] == [
        ("a", "end"),
        ("runtime", "worker_stopped"),
        ("b", "x"),
    ]
    assert not machine.ended
    assert machine.cursor == encode_cursor(3)


def test_a_snapshot_is_of_no_worker() -> None:
    machine = following(Workers(None), "earliest")
    frame = {"kind": "snapshot", "as_of": encode_cursor(0), "workers": [], "runtime": {}}
    [joined] = told_by(machine, hello(), frame)
    assert isinstance(joined, Joined)
    assert joined.phase is None


def test_an_event_that_nobody_asked_for_is_a_violation() -> None:
    machine = following(Workers(("a",)), "earliest")
    with pytest.raises(FeedViolation, match="'b'") as broken:
        told_by(machine, hello(), events((1, "a", "x"), (2, "b", "x")))
    assert broken.value.kind == "foreign"


def test_a_repeated_event_is_one_too() -> None:
    machine = following(Workers(None), "earliest")
    with pytest.raises(FeedViolation):
        told_by(machine, hello(), events((1, "a", "x")), events((1, "b", "x"), prev=1))
