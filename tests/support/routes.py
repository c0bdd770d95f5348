"""Every way to a worker's events, each read in the same words: feeds, a subscription, feeds of everybody.

reading = ROUTES["session"].reading("w")
await ROUTES["session"].read(served.url, reading)      one connection, to the end or a diagnosis
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .following import (
    AllReading,
    Reading,
    read_polling,
    read_session,
    read_socket,
    read_socket_v1,
    read_stream,
)
from .inprocess import TOKEN

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One of them."""

    read: Callable[[str, Reading], Coroutine[Any, Any, None]]
    of_everybody: bool = False
    knows_resets: bool = True
    """Whether `on_expired=snapshot` means something here."""

    def reading(self, worker_id: str, cursor: str = "earliest", query: str = "") -> Reading:
        """What is read by this way, up to the end of this worker."""
        if self.of_everybody:
            is_last = _is_end_of(worker_id)
            return AllReading(cursor=cursor, query=f"&workers=*{query}", is_last=is_last)
        return Reading(worker_id, cursor, query)


def give_token(state_dir: Path) -> None:
    """Have the servers of this directory take the token that these readers send."""
    token = state_dir / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)


def _is_end_of(worker_id: str) -> Callable[[Json], bool]:
    def is_end(envelope: Json) -> bool:
        return bool(envelope["worker_id"] == worker_id and envelope["payload"]["event"] == "end")

    return is_end


def events_of(worker_id: str, reading: Reading) -> list[Json]:
    """What a reading has of one worker, as the journal has it."""
    mine = (each for each in reading.envelopes if each["worker_id"] == worker_id)
    return [{name: value for name, value in each.items() if name != "prev"} for each in mine]


ROUTES: dict[str, Route] = {
    "v1": Route(read_socket_v1, knows_resets=False),
    "v2": Route(read_socket),
    "sse": Route(read_stream),
    "long poll": Route(read_polling, knows_resets=False),
    "session": Route(read_session),
    "v2 of everybody": Route(read_socket, of_everybody=True),
    "sse of everybody": Route(read_stream, of_everybody=True),
    "session of everybody": Route(read_session, of_everybody=True),
    "long poll of everybody": Route(read_polling, of_everybody=True, knows_resets=False),
}
