"""One reader's way over many connections: what to ask, when to come back, when to give up. Pure."""

from __future__ import annotations

from typing import Final

from watchglass.protocol.follow import SUBPROTOCOL_V2, Following
from watchglass.protocol.follow_all import FollowingAll

from .address import Address
from .call import Answer, api_error, query_text, worker_path
from .faults import Unreachable
from .trust import is_refused_certificate, tls_reason

SUBPROTOCOLS: Final = (SUBPROTOCOL_V2,)
"""What is asked for; a server that chooses none speaks version 1."""
ALL_FEED_PATH: Final = "/v1/events/ws"
FRAME_BYTES_MAX: Final = 8 << 20
"""A snapshot holds at most 768 Ki characters, and JSON may need six bytes for one."""
QUEUE_FRAMES_MAX: Final = 8
"""Frames that wait for a slow reader before its socket is left alone."""
OPEN_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
PING_INTERVAL_S: Final = 20.0
PING_TIMEOUT_S: Final = 20.0
SETTLE_TIMEOUT_S: Final = 1.0
"""How long a worker that looked ended may take to say its last events."""
PATIENCE_S: Final = 60.0

CLOSED_ABNORMALLY: Final = 1006
FINAL_STATUS: Final = frozenset({400, 401, 403, 404, 405, 410})
"""Refusals of the upgrade that another try would not change."""


class Journey:
    """What happened to a reader's connections. Times are of a clock that never goes back."""

    def __init__(self, following: Following, now_s: float, *, patience_s: float = PATIENCE_S) -> None:
        self.following = following
        self.connections = 0
        self.last_loss = "no answer"
        self._patience_s = patience_s
        self._answered_at_s = now_s
        self._began_at_s = now_s
        self._answered = False

    @property
    def target(self) -> str:
        """Path and query of the next connection."""
        following = self.following
        is_of_all = isinstance(following, FollowingAll)
        path = ALL_FEED_PATH if is_of_all else worker_path(following.worker_id, "events", "ws")
        return path + query_text(following.query())

    def begin(self, now_s: float) -> None:
        """A connection is tried."""
        self._began_at_s = now_s
        self._answered = False

    def opened(self, subprotocol: str | None) -> None:
        """It is there."""
        self.connections += 1
        self._answered = True
        self.following.opened(subprotocol)

    def refused(self, answer: Answer) -> None:
        """The upgrade was refused. Raises ApiError when another try would not change that."""
        refusal = api_error(answer)
        if answer.status in FINAL_STATUS:
            raise refusal
        self.last_loss = str(refusal)

    def lost(self, now_s: float, *, url: str, jitter: float, close_code: int | None = None) -> float:
        """The connection is gone, or was none: the seconds to wait before the next one.

        Raises:
            Unreachable: Nothing has answered for as long as this reader's patience.
        """
        if self._answered:
            self._answered_at_s = now_s
        wait_s = self.following.lost(
            jitter=jitter,
            lasted_s=now_s - self._began_at_s,
            close_code=close_code if self._answered else None,
        )
        if not self.following.ended and now_s - self._answered_at_s >= self._patience_s:
            raise Unreachable(url, self.last_loss, "unsent")
        return wait_s


def check_trusted(address: Address, fault: Exception) -> None:
    """Raises Unreachable: a certificate was refused, and another try would not change that.

    One that was found with its runtime may be older than the runtime is: there is a newer one soon.
    """
    if address.trust.certificate is None and is_refused_certificate(fault):
        raise Unreachable(address.url, why(fault), "unsent") from fault


def why(fault: Exception) -> str:
    """A fault of a connection in a few words."""
    reason = tls_reason(fault)
    if reason is not None:
        return reason
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror.lower()
    return str(fault) or type(fault).__name__
