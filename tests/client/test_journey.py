"""When a reader comes back, and when it gives up."""

from __future__ import annotations

import pytest

from watchglass.client.call import Answer
from watchglass.client.faults import ApiError, Unreachable
from watchglass.client.journey import FINAL_STATUS, Journey
from watchglass.protocol.follow import SUBPROTOCOL_V2, Following


def journey(patience_s: float = 10.0) -> Journey:
    return Journey(Following("wk", "earliest"), 100.0, patience_s=patience_s)


def test_a_connection_is_asked_for_with_the_place_and_the_wishes() -> None:
    following = Following("a b", None, types=["text_delta", "exit"], on_expired="snapshot")
    target = Journey(following, 0.0).target
    assert target == "/v1/workers/a%20b/events/ws?cursor=latest&types=exit%2Ctext_delta&on_expired=snapshot"


def test_patience_ends_when_nothing_has_answered_for_that_long() -> None:
    way = journey()
    way.last_loss = "connection refused"
    way.begin(100.0)
    assert way.lost(105.0, url="http://h", jitter=0.5) > 0
    way.begin(106.0)
    with pytest.raises(Unreachable, match="connection refused"):
        way.lost(110.0, url="http://h", jitter=0.5)


def test_an_answer_renews_the_patience() -> None:
    way = journey()
    way.begin(105.0)
    way.opened(SUBPROTOCOL_V2)
    way.lost(109.0, url="http://h", jitter=0.5, close_code=1006)
    way.begin(110.0)
    assert way.lost(118.0, url="http://h", jitter=0.5) > 0
    assert way.connections == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 500, 503])
def test_a_refused_upgrade_is_final_or_tried_again(status: int) -> None:
    way = journey()
    refusal = Answer(status, "No", {}, b'{"error": {"code": "c", "message": "because"}}')
    if status in FINAL_STATUS:
        with pytest.raises(ApiError, match="because"):
            way.refused(refusal)
    else:
        way.refused(refusal)
        assert way.last_loss == "because"
