"""Why nothing is heard of a worker while its runtime's store takes no writes, such as on a full disk.

An event is shown when it is written and no sooner, and so is an end. Who waits for one
is told, once an outage; and who has given up waiting may leave when the process is
gone, for how it ended cannot be told before there is room.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from watchglass.client.faults import ClientFault

from .reaching import client_for, path_of
from .showing import note

if TYPE_CHECKING:
    from watchglass.client.finding import Found
    from watchglass.client.http import Client

QUIET_S: Final = 15.0
"""Nothing was heard for so long: the runtime is asked why, and again after as long."""
HURRIED_S: Final = 0.5
"""The same, for somebody who waits for an end."""


class Outage:
    """Asks, in a thread of its own, what the runtime's store has against a worker's events.

    `on_gone` is called, in that thread, when the worker was abandoned, has no process
    any more, and its journal cannot tell it; `before_note` makes room for a note.
    """

    def __init__(
        self,
        runtime: Found,
        worker: str,
        *,
        on_gone: Callable[[], None] = lambda: None,
        before_note: Callable[[], None] = lambda: None,
    ) -> None:
        self._runtime = runtime
        self._worker = worker
        self._on_gone = on_gone
        self._before_note = before_note
        self._heard = 0
        self._wake = threading.Event()
        self._quiet_s = QUIET_S
        self._abandoned = False
        self._told = False
        self._over = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs."""
        threading.Thread(target=self._run, name="watchglass-outage", daemon=True).start()
        try:
            yield
        finally:
            self._over = True
            self._wake.set()

    def heard(self) -> None:
        """Something came of the worker."""
        self._heard += 1

    def hurry(self) -> None:
        """The worker was asked to end, and somebody waits for that."""
        self._quiet_s = HURRIED_S
        self._wake.set()

    def abandon(self) -> None:
        """The worker was abandoned: nobody will wait for room."""
        self._abandoned = True
        self.hurry()

    def _run(self) -> None:
        heard = -1
        with client_for(self._runtime) as client:
            while True:
                self._wake.wait(self._quiet_s)
                self._wake.clear()
                if self._over:
                    return
                if heard == self._heard or self._quiet_s == HURRIED_S:
                    self._ask(client)
                heard = self._heard

    def _ask(self, client: Client) -> None:
        try:
            fault = client.get(path_of(self._worker, "explain"))["explanation"].get("store_fault")
            is_gone = fault is not None and self._abandoned and self._is_gone(client)
        except ClientFault:
            return  # Who waits for the worker is told of that by what it waits with.
        if self._over:
            return
        if fault is not None and not self._told:
            self._before_note()
            note(f"the store takes no writes ({fault}): what happens to {self._worker} is told when it does")
        self._told = fault is not None
        if is_gone:
            self._on_gone()

    def _is_gone(self, client: Client) -> bool:
        return client.get(path_of(self._worker))["worker"].get("pid") is None


@contextmanager
def outage_told(runtime: Found, worker: str) -> Iterator[None]:
    """Who waits in this block for the worker's end is told why it does not come."""
    outage = Outage(runtime, worker)
    with outage.watched():
        outage.hurry()
        yield
