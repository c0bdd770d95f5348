"""What is wrong with a query is said with what would be right."""

from __future__ import annotations

import pytest

from watchglass.protocol.errors import InvalidQuery
from watchglass.server.queries import Query, TasksQuery, TranscriptQuery, WorkersQuery, checked_query


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        (WorkersQuery, {"limit": "some"}, "limit='some': use a whole number"),
        (WorkersQuery, {"limit": "0"}, "limit='0': use 1 or more"),
        (TranscriptQuery, {"start": "-1"}, "start='-1': use 0 or more"),
        (TasksQuery, {"limit": "9" * 5000}, "use a number of fewer digits"),
        *(
            (TasksQuery, {"limit": given}, f"limit='{given}': use a whole number")
            for given in ("1.0", "1_000", "+1", " 1", "1e2", "\u0661", "", True, 1.0)
        ),
        (WorkersQuery, {"status": "asleep"}, "use one of 'running', 'stopped' or 'cancelled'"),
    ],
)
def test_the_parameter_and_the_value_are_named_with_what_to_use(
    model: type[Query], given: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidQuery) as refused:
        checked_query(model, given)
    assert str(refused.value).endswith(says)
