"""The line to whichever server there is: the first channel, then the newest connection.

A worker that outlives its server has a listener too, and may for long have no
channel at all; what is said meanwhile is dropped, for `STATE` will tell it.
"""

from __future__ import annotations

import json
import select

from . import wire
from .channel import Channel, Listener
from .loop import Loop


class Boss:
    """Whom a line connects with its server. No `typing.Protocol`: that module would weigh on all."""

    def obey(self, kind: int, body: bytes) -> None:
        """Do what a frame asks. Raises WireError."""
        raise NotImplementedError

    def note_input(self) -> None:
        """Tell of the input that the last frames brought."""
        raise NotImplementedError

    def state(self) -> dict[str, object]:
        """The content of STATE."""
        raise NotImplementedError

    def on_server_gone(self) -> None:
        """The end of the channel was reached, and no newer one replaced it."""
        raise NotImplementedError

    def retry_soon(self) -> None:
        """Call `listen` a little later."""
        raise NotImplementedError


class Line:
    """At most one channel, and everything that is said over it."""

    __slots__ = ("_boss", "_channel", "_egress", "_first", "_is_listening", "_last", "_listener", "_loop")

    def __init__(self, boss: Boss, loop: Loop, channel: Channel, listener: Listener | None) -> None:
        self._boss = boss
        self._loop = loop
        self._channel = self._first = channel
        self._listener = listener
        self._is_listening = False
        self._last: tuple[int, bytes] | None = None
        self._egress: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether the server that launched the worker is still there, and no other ever was."""
        return self._channel is self._first and not self._channel.closed

    def open(self) -> None:
        """Serve the channel, beginning with what came together with the plan, and listen."""
        self._loop.watch(self._channel.fileno(), self._on_channel)
        self.listen()
        self._deliver()

    def send(self, kind: int, body: bytes = b"") -> None:
        self._channel.send(kind, body)

    def hand_egress(self, listener: int) -> None:
        """Give the server, and each later one, the socket that listens in the worker's network.

        It stays open until we exit, for a channel may still have to send it.
        """
        self._egress = listener
        self._channel.send_file(wire.EGRESS, listener)

    def wake(self) -> None:
        self._channel.wake()

    def tell_taken(self, total_bytes: int) -> None:
        self._channel.tell_taken(total_bytes)

    def watch_room(self) -> None:
        """Before each wait: whether there is something to send that the channel did not take yet."""
        if not self._channel.closed:
            wanted = select.POLLIN | (select.POLLOUT if self._channel.wants_write else 0)
            self._loop.set_mask(self._channel.fileno(), wanted)

    def listen(self) -> None:
        """Take connections (again)."""
        if self._listener is not None and not self._is_listening:
            self._is_listening = True
            self._loop.watch(self._listener.fileno(), self._on_connection)

    def hang_up(self) -> None:
        """Take no more connections; after it `ctl.sock` is gone."""
        if self._listener is not None:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def finish(self, kind: int, body: bytes) -> None:
        """Send the last frame, however long the server takes to make room for it, if it lives."""
        self._last = kind, body
        self._channel.send(kind, body)
        while self._channel.wants_write:
            self.watch_room()
            self._loop.handle(self._loop.wait(None))
        self.hang_up()

    def _on_channel(self, _events: int) -> None:
        self._channel.receive()
        self._channel.flush()
        self._deliver()
        if self._channel.closed:
            self._drop()
            self._boss.on_server_gone()

    def _on_connection(self, _events: int) -> None:
        assert self._listener is not None
        try:
            newest = self._listener.accept()
        except OSError:  # No descriptor or no memory is free: it stays in the queue.
            self._loop.forget(self._listener.fileno())
            self._is_listening = False
            self._boss.retry_soon()
            return
        if newest is None:
            return
        while self._channel.receive():  # What reached us counts, also from a server that died since.
            self._deliver()
        self._drop()
        self._channel = newest
        self._loop.watch(newest.fileno(), self._on_channel)
        if self._egress is not None:
            newest.send_file(wire.EGRESS, self._egress)
        newest.send(wire.STATE, json.dumps(self._boss.state()).encode())
        if self._last is not None:
            newest.send(*self._last)

    def _deliver(self) -> None:
        """A frame that nobody understands is the end of its channel."""
        inbox = self._channel.inbox
        try:
            while inbox:
                self._boss.obey(*inbox.popleft())
        except wire.WireError:
            self._channel.closed = True
        self._boss.note_input()

    def _drop(self) -> None:
        """Forget the channel; dropping it twice changes nothing."""
        if self._channel.fileno() >= 0:
            self._loop.forget(self._channel.fileno())
            self._channel.close()
