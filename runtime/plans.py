"""The plans that requests come to on this host, each made once.

A plan depends on what a request says of isolation and limits, on what is held for
it, and on what the host can do. Most requests say the same of these, and each is
planned at least twice, when it comes and when it is launched. A plan is frozen,
so all whom it fits share one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from watchglass.protocol.execution import ExecutionPlan, Reservation
from watchglass.protocol.workers import CreateWorkerRequest

from .capabilities import HostCapabilities
from .options import RuntimeOptions
from .policy import resolve

PLANS_MAX: Final = 256
"""So many are kept; then it begins anew."""


class Plans:
    """Of one runtime."""

    def __init__(self, options: RuntimeOptions, host: Callable[[], HostCapabilities]) -> None:
        """`host`: what it can do as of now; the same object for as long as nothing was found out anew."""
        self._default_mode = options.capability_mode
        self._all_own_uids = options.worker_uids == "all"
        self._host = host
        self._made_for: HostCapabilities | None = None
        self._plans: dict[tuple[str, ...], ExecutionPlan] = {}

    def plan(self, request: CreateWorkerRequest, held: Reservation | None) -> ExecutionPlan:
        """See `resolve`. Raises UnsupportedCapability."""
        host = self._host()
        if host is not self._made_for or len(self._plans) >= PLANS_MAX:
            self._made_for, self._plans = host, {}
        key = _key(request, held)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = resolve(
                request, self._default_mode, host, held, all_own_uids=self._all_own_uids
            )
        return plan


def _key(request: CreateWorkerRequest, held: Reservation | None) -> tuple[str, ...]:
    """All of a request that a plan depends on."""
    parts = (request.sandbox, request.limits, request.policy, request.control_context)
    return (*(part.model_dump_json() for part in parts), "" if held is None else held.model_dump_json())
