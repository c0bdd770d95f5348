"""A TCP connection that is being made, and given up at once when somebody wants to leave."""

from __future__ import annotations

import errno
import os
import select
import socket
import time


def opened(host: str, port: int, *, timeout_s: float, wake: socket.socket) -> socket.socket:
    """A connection to the first address of `host` that takes one; it blocks, as a socket does.

    Nothing here waits in the kernel alone, where a signal handler could not end
    it: as soon as `wake` can be read, the connection is given up.

    Raises:
        OSError: There is none: what the last address said, TimeoutError after
            `timeout_s`, or ConnectionAbortedError because of `wake`.
    """
    deadline_s = time.monotonic() + timeout_s
    refused = OSError(f"{host} has no address")
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            _connect(connection, place, deadline_s, wake)
        except (TimeoutError, ConnectionAbortedError):
            connection.close()
            raise
        except OSError as fault:
            connection.close()
            refused = fault
        else:
            connection.setblocking(True)
            return connection
    raise refused


def _connect(
    connection: socket.socket, place: tuple[object, ...] | str, deadline_s: float, wake: socket.socket
) -> None:
    connection.setblocking(False)
    number = connection.connect_ex(place)
    if number == errno.EINPROGRESS:
        _wait(connection, deadline_s, wake)
        number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def _wait(connection: socket.socket, deadline_s: float, wake: socket.socket) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    poll.register(wake, select.POLLIN)
    ready = poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000)
    if not ready:
        raise TimeoutError
    if wake.fileno() in dict(ready):
        raise ConnectionAbortedError("left")
