"""What `events` does without a worker: the events of everybody, or of some, and the runtime's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from watchglass.protocol.follow_all import workers_of

from .faults import UsageFault, as_option
from .following import following, leaving_on_interrupt, refused
from .reaching import client_for
from .screens import facts_of, show_loss
from .showing import note, one_line, short, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.faults import ApiError
    from watchglass.client.finding import Found
    from watchglass.protocol.follow import OnExpired

Json = dict[str, Any]

_LOST: Final = "runtime.cursor_expired"
"""What a feed would say where a long poll says 410; the facts say the reason."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose events, which of them, from where on, and how they are shown."""

    workers: str
    types: list[str]
    cursor: str
    on_expired: OnExpired
    as_json: bool

    def show(self, envelope: Json) -> None:
        """One event, one line."""
        if self.as_json:
            write_json_line(envelope)
            return
        payload = envelope["payload"]
        place = f"{envelope.get('ts') or ''}  {envelope['cursor']}  {one_line(envelope['worker_id']):<20}"
        write_line(f"{place}  {one_line(payload['event']):<14}  {short(payload['data'])}")


def print_until_now(place: Found, wish: Wish) -> None:
    """What there is by now."""
    from watchglass.client.calls import poll_all_events
    from watchglass.client.faults import ApiError

    with client_for(place) as client, _usage_told():
        cursor, up_to_date = wish.cursor, False
        while not up_to_date:
            try:
                answer = client.ask(poll_all_events(wish.workers, cursor, wait_s=0, types=wish.types))
            except ApiError as refusal:
                if refusal.status != HTTPStatus.GONE:
                    raise
                _go_on_after_loss(refusal, wish)
                return
            for envelope in answer.events:
                wish.show(envelope.model_dump())
            cursor, up_to_date = answer.next, answer.up_to_date


def _go_on_after_loss(refusal: ApiError, wish: Wish) -> None:
    """Say what is lost: behind the head, where it would go on, there is nothing up to now."""
    from watchglass.protocol.said import FeedRefused

    if wish.on_expired == "close":
        raise refused(FeedRefused(_LOST, refusal.message, refusal.details), wish.on_expired)
    show_loss(refusal.details, as_json=wish.as_json)


def print_as_it_comes(place: Found, wish: Wish, retry_for: float | None) -> None:
    """The same, and what comes, until Ctrl-C."""
    whose = workers_of(wish.workers)
    with (
        _usage_told(),
        following(
            place, whose, wish.cursor, retry_for, types=wish.types, on_expired=wish.on_expired
        ) as follower,
    ):
        with leaving_on_interrupt(follower):
            for said in follower.everything():
                if said.kind == "told":
                    wish.show(said.envelope)
                elif said.kind == "reset":
                    show_loss(facts_of(said), as_json=wish.as_json)
        note(f"left; go on with: watchglass events -f --workers '{wish.workers}' --cursor {follower.cursor}")


@contextmanager
def _usage_told() -> Iterator[None]:
    """A query that the runtime cannot read is a wrong command line."""
    from watchglass.client.faults import ApiError

    try:
        yield
    except ApiError as refusal:
        if refusal.status == HTTPStatus.BAD_REQUEST and refusal.code != "tls_required":
            raise UsageFault(as_option(refusal)) from None
        raise
