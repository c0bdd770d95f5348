"""What `events` does without a worker: the events of everybody, or of some, and the runtime's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from watchglass.protocol.follow_all import workers_of

from .faults import UsageFault
from .following import following, leaving_on_interrupt
from .reaching import client_for
from .showing import note, one_line, short, write_json_line, write_line

if TYPE_CHECKING:
    from watchglass.client.finding import Found

Json = dict[str, Any]
Show = Callable[[Json], None]


def print_until_now(place: Found, workers: str, cursor: str, types: Collection[str], show: Show) -> None:
    """What there is by now."""
    from watchglass.client.calls import poll_all_events

    with client_for(place) as client, _usage_told():
        up_to_date = False
        while not up_to_date:
            answer = client.ask(poll_all_events(workers, cursor, wait_s=0, types=types))
            for envelope in answer.events:
                show(envelope.model_dump())
            cursor, up_to_date = answer.next, answer.up_to_date


def print_as_it_comes(
    place: Found, workers: str, cursor: str, types: Collection[str], retry_for: float | None, show: Show
) -> None:
    """The same, and what comes, until Ctrl-C."""
    with _usage_told(), following(place, workers_of(workers), cursor, retry_for, types=types) as follower:
        with leaving_on_interrupt(follower):
            for said in follower:
                if said.kind == "told":
                    show(said.envelope)
        note(f"left; go on with: watchglass events -f --workers '{workers}' --cursor {follower.cursor}")


def shown_as(*, as_json: bool) -> Show:
    """How an envelope is printed: `prev` is the feed's and not the journal's."""

    def show(envelope: Json) -> None:
        if as_json:
            write_json_line({name: value for name, value in envelope.items() if name != "prev"})
            return
        payload = envelope["payload"]
        place = f"{envelope.get('ts') or ''}  {envelope['cursor']}  {one_line(envelope['worker_id']):<20}"
        write_line(f"{place}  {one_line(payload['event']):<14}  {short(payload['data'])}")

    return show


@contextmanager
def _usage_told() -> Iterator[None]:
    """A query that the runtime cannot read is a wrong command line."""
    from watchglass.client.faults import ApiError

    try:
        yield
    except ApiError as refusal:
        if refusal.status == 400:
            raise UsageFault(str(refusal)) from None
        raise
