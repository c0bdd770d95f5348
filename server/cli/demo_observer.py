"""The demo's observers: each follows one worker in a thread, and one of them is cut."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from watchglass.client.faults import ClientFault
from watchglass.protocol.cursor import decode_cursor

if TYPE_CHECKING:
    from watchglass.client.address import Address
    from watchglass.protocol.said import Joined, Told

Json = dict[str, Any]


class Stage(Protocol):
    """Where the demo is shown."""

    def say(self, text: str) -> None:
        """The narrator's line."""

    def show(self, name: str, event: str, data: Json) -> None:
        """An event of the worker called `name`; may be called in any thread."""


@dataclass(slots=True)
class Cut:
    """A connection cut on purpose: the last event before it, and the worker's head at the way back."""

    at: str
    head_at_return: str | None = None


@dataclass(slots=True)
class Seen:
    """What one observer saw: the log, if all is well."""

    events: list[tuple[str, str, Json]] = field(default_factory=list)
    cut: Cut | None = None
    connections: int = 0
    fault: Exception | None = None
    ended: bool = False

    def text(self) -> str:
        """All text that was said."""
        return "".join(data["text"] for _, name, data in self.events if name == "text_delta")

    def heard(self, event: str, *, after: str | None = None) -> bool:
        """Whether such an event came, at all or after a cursor."""
        return any(name == event and (after is None or cursor > after) for cursor, name, _ in self.events)

    def while_away(self) -> int:
        """How many events were said between the cut and the way back."""
        if self.cut is None or self.cut.head_at_return is None:
            return 0
        return sum(self.cut.at < cursor <= self.cut.head_at_return for cursor, _, _ in self.events)


class Observer:
    """Follows one worker from its first event to its end; `cut_after` events it is cut off once."""

    def __init__(
        self, address: Address, worker: str, stage: Stage, changed: threading.Condition, *, cut_after: int = 0
    ) -> None:
        self.worker = worker
        self.seen = Seen()
        self._address = address
        self._stage = stage
        self._changed = changed
        self._cut_after = cut_after
        self._thread = threading.Thread(target=self._run, name=f"demo-{worker}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the worker's end; whether it came."""
        self._thread.join(timeout_s)
        return self.seen.ended

    def _run(self) -> None:
        from watchglass.client.follower import Follower
        from watchglass.protocol.said import FeedRefused, FeedViolation

        try:
            with Follower(lambda: self._address, self.worker, cursor="earliest", patience_s=10.0) as follower:
                for said in follower:
                    with self._changed:
                        self._take(said)
                        self.seen.connections = follower.connections
                        self._changed.notify_all()
                    if self.seen.cut is None and 0 < self._cut_after <= len(self.seen.events):
                        self.seen.cut = Cut(at=said.cursor)
                        follower.sever()
        except (ClientFault, FeedRefused, FeedViolation) as fault:
            self.seen.fault = fault
        with self._changed:
            self._changed.notify_all()

    def _take(self, said: Joined | Told) -> None:
        seen = self.seen
        if said.kind == "joined":
            if seen.cut is not None and seen.cut.head_at_return is None:
                seen.cut.head_at_return = said.as_of
                self._stage.say(
                    f"cut the connection to {self.worker} at {seen.cut.at}; its observer goes on from there"
                )
            return
        if seen.cut is not None and seen.cut.head_at_return is None:
            seen.cut.at = said.cursor  # It had arrived before the cut.
        seen.events.append((said.cursor, said.name, said.data))
        seen.ended = said.name == "end"
        self._stage.show(self.worker, said.name, said.data)


def whole_log(address: Address, worker: str) -> Seen:
    """A second, fresh read of an ended worker's log, from the earliest event to the end."""
    from watchglass.client.follower import Follower

    seen = Seen()
    with Follower(lambda: address, worker, cursor="earliest", patience_s=5.0) as follower:
        for said in follower:
            if said.kind == "told":
                seen.events.append((said.cursor, said.name, said.data))
    seen.ended = follower.ended
    return seen


def raw_text(address: Address, worker: str) -> str:
    """What the worker's process wrote, from its raw log."""
    from watchglass.client.call import worker_path
    from watchglass.client.http import Client

    with Client(address) as client:
        return client.get_bytes(worker_path(worker, "logs", "stdout")).decode()


def faults_of(seen: Seen, again: Seen, raw: str, *, speech: str) -> list[str]:
    """What an observer saw, laid beside a second read and the raw output: what does not fit."""
    faults = [] if seen.fault is None else [f"its feed broke: {seen.fault}"]
    missed, doubled, foreign = differences(seen, again)
    if missed:
        faults.append(f"missed {missed} events")
    if doubled:
        faults.append(f"saw {doubled} events twice")
    if foreign:
        faults.append(f"saw {foreign} events that are not in the log")
    if not faults and seen.events != again.events:
        faults.append("saw the events in another order than the log has")
    if not seen.ended or not again.ended:
        faults.append("did not see the worker's end")
    if not (_says_text(seen, raw) if speech == "text" else _says_events(seen, raw)):
        faults.append("its events are not what the process wrote")
    return faults


def differences(seen: Seen, again: Seen) -> tuple[int, int, int]:
    """How many events were missed, seen more than once, and seen though the log has none such."""
    had = [decode_cursor(cursor) for cursor, _, _ in seen.events]
    has = {decode_cursor(cursor) for cursor, _, _ in again.events}
    return len(has - set(had)), len(had) - len(set(had)), len(set(had) - has)


def _says_text(seen: Seen, raw: str) -> bool:
    return seen.text() == raw


def _says_events(seen: Seen, raw: str) -> bool:
    written = [json.loads(line) for line in raw.splitlines()]
    ours = {"status", "execution_plan", "reserved", "released", "exit", "end", "user_message", "alert"}
    told = [{"event": name, "data": data} for _, name, data in seen.events if name not in ours]
    return told == written
