"""What a token may do: the table of `protocol/scopes.py`, for whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchglass.protocol.scopes import EVERYTHING, Grant, Need, Reach, TokenScope, Verdict, decide

SCOPES = st.sampled_from(TokenScope)
IDS = st.sampled_from(["a", "b", "A", "a.b"])
GRANTS = st.builds(Grant, SCOPES, st.none() | IDS)
NEEDS = st.builds(Need, SCOPES, st.sampled_from(Reach))
RANK = {"observe": 1, "drive": 2, "admin": 3}


def named(need: Need, worker_id: str) -> str | None:
    """The path of an endpoint names a worker where it is of one."""
    return worker_id if need.reach is Reach.WORKER else None


@given(need=NEEDS, worker_id=IDS)
def test_who_has_everything_may_do_everything(need: Need, worker_id: str) -> None:
    assert decide(EVERYTHING, need, named(need, worker_id)) is Verdict.ALLOWED


@given(scope=SCOPES, need=NEEDS, worker_id=IDS)
def test_without_a_binding_the_scope_alone_decides(scope: TokenScope, need: Need, worker_id: str) -> None:
    enough = RANK[scope] >= RANK[need.scope]
    expected = Verdict.ALLOWED if enough else Verdict.MISSING_SCOPE
    assert decide(Grant(scope), need, named(need, worker_id)) is expected


@given(grant=GRANTS, scope=SCOPES, worker_id=IDS)
def test_another_worker_is_not_there_whatever_the_scope(
    grant: Grant, scope: TokenScope, worker_id: str
) -> None:
    foreign = grant.worker_id not in {None, worker_id}
    found = decide(grant, Need(scope, Reach.WORKER), worker_id)
    assert (found is Verdict.FOREIGN) == foreign


@given(scope=SCOPES, need=SCOPES, worker_id=IDS)
def test_whoever_is_bound_has_nothing_of_the_runtime(
    scope: TokenScope, need: TokenScope, worker_id: str
) -> None:
    assert decide(Grant(scope, worker_id), Need(need, Reach.RUNTIME)) is Verdict.MISSING_SCOPE


@given(grant=GRANTS, need=NEEDS, worker_id=IDS)
def test_less_is_never_more(grant: Grant, need: Need, worker_id: str) -> None:
    """What a token may do, the same one may with a higher scope, or without its binding."""
    if decide(grant, need, named(need, worker_id)) is not Verdict.ALLOWED:
        return
    for more in (Grant(TokenScope.ADMIN, grant.worker_id), Grant(grant.scope), EVERYTHING):
        assert decide(more, need, named(need, worker_id)) is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("held", "needed", "enough"),
    [
        ("observe", "observe", True),
        ("observe", "drive", False),
        ("observe", "admin", False),
        ("drive", "observe", True),
        ("drive", "drive", True),
        ("drive", "admin", False),
        ("admin", "drive", True),
    ],
)
def test_each_scope_has_those_below_it(held: str, needed: str, enough: bool) -> None:
    assert TokenScope(held).includes(TokenScope(needed)) is enough
