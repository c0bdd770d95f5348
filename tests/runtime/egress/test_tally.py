"""A worker that hammers does not flood its journal, and every refusal is counted."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.events import Event, shape_fault
from watchglass.protocol.places import Place
from watchglass.runtime.egress.routing import Reason
from watchglass.runtime.egress.tally import DENIED_PLACES_MAX, Denial, Tally

DENIALS = st.builds(
    Denial,
    st.none() | st.builds(Place, st.sampled_from(["a.example", "::1"]), st.integers(1, 2)),
    st.sampled_from([Reason.NOT_ALLOWED, Reason.PRIVATE_ADDRESS]),
)


@given(st.lists(DENIALS, max_size=150))
def test_of_each_refusal_the_first_tenth_and_hundredth_are_told(denials: list[Denial]) -> None:
    tally = Tally()
    told = [tally.deny(denial) for denial in denials]
    counts: Counter[Denial] = Counter()
    expected = []
    for denial in denials:
        counts[denial] += 1
        expected.append(counts[denial] in (1, 10, 100))
    assert told == expected
    events = tally.take_events()
    assert len(events) == sum(expected)
    assert [event for event in events if shape_fault(event)] == []
    assert tally.denied == len(denials)
    assert tally.take_events() == []


def test_beyond_a_number_of_places_only_their_number_is_told() -> None:
    tally = Tally()
    for port in range(1, 5001):
        tally.deny(Denial(Place("a.example", port), Reason.NOT_ALLOWED))
    events = [event.data for event in tally.take_events()]
    assert events[:DENIED_PLACES_MAX] == [
        {"host": "a.example", "port": port, "reason": "not_allowed", "count": 1}
        for port in range(1, DENIED_PLACES_MAX + 1)
    ]
    rest = {"host": None, "port": None, "reason": "too_many_places"}
    assert events[DENIED_PLACES_MAX:] == [{**rest, "count": count} for count in (1, 10, 100, 1000)]
    assert tally.denied == 5000


def test_a_place_that_is_known_is_counted_on_when_the_list_is_full() -> None:
    tally = Tally()
    for port in range(1, DENIED_PLACES_MAX + 2):
        tally.deny(Denial(Place("a.example", port), Reason.NOT_ALLOWED))
    tally.take_events()
    for _ in range(9):
        tally.deny(Denial(Place("a.example", 1), Reason.NOT_ALLOWED))
    assert [event.data["count"] for event in tally.take_events()] == [10]


def test_what_went_through_is_told_in_sum_and_nothing_of_nothing() -> None:
    tally = Tally()
    assert tally.usage() is None
    tally.connections, tally.sent_bytes, tally.received_bytes = 2, 30, 400
    usage = tally.usage()
    assert usage is not None
    assert usage == Event(
        "egress_usage", {"connections": 2, "sent_bytes": 30, "received_bytes": 400, "denied": 0}
    )
    assert shape_fault(usage) is None
