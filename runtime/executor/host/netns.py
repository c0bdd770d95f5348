"""A door in a network without one: a socket that listens inside a worker's namespace, held outside.

A forked helper goes in, binds and listens on 127.0.0.1, and sends the listening
descriptor back (SCM_RIGHTS); a socket stays in the network it was made in,
whoever holds it. So a sandbox whose only interface is its loopback has one place
to connect to, and nothing runs inside for it.

The way in, network_namespaces(7), user_namespaces(7): the user namespace that
owns the network (NS_GET_USERNS, ioctl_ns(2)), in which the creator's uid and
root have every right, and then the network itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket

from . import linux

PORT = 3128
"""Where the listener is, inside, on 127.0.0.1."""

SHOWN = f"127.0.0.1:{PORT} inside"

_BACKLOG = 128
_NS_GET_USERNS = 0xB701
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_IP_FREEBIND = 15  # ip(7): the loopback may be a moment from having its address.
_ANSWER_BYTES = 16


class NoWayOut(OSError):
    """There is no socket in the worker's network, so there is nothing that it could reach."""


def listener_inside(pid: int) -> int:
    """A socket that listens on 127.0.0.1:PORT in the network of process `pid`, to be closed by the caller.

    Raises:
        ProcessLookupError: There is no such process any more.
        NoWayOut: The network cannot be entered or listened in, or no descriptor or process is free.
    """
    try:
        return _asked_of_helper(pid)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(errno.ESRCH, error.strerror, SHOWN) from error
    except OSError as error:
        raise NoWayOut(error.errno, error.strerror, SHOWN) from error


def _asked_of_helper(pid: int) -> int:
    """Raises OSError: what the helper ran into."""
    ours, theirs = socket.socketpair()
    try:
        helper = os.fork()
        if helper == 0:
            _help(pid, ours, theirs)
        theirs.close()
        try:
            told, files, _flags, _address = socket.recv_fds(ours, _ANSWER_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        finally:
            os.waitpid(helper, 0)
    finally:
        ours.close()
        theirs.close()
    if not files:
        number = int(told) if told.strip(b"0") else errno.EMFILE
        raise OSError(number, os.strerror(number))
    return files[0]


def _help(pid: int, ours: socket.socket, theirs: socket.socket) -> None:
    """Never returns: answers "0" with the listener, or the errno of what failed."""
    try:
        ours.close()
        _enter_network(pid)
        listener = _listen()
        socket.send_fds(theirs, [b"0"], [listener.fileno()])
    except OSError as error:
        theirs.send(str(error.errno or errno.EIO).encode())
    finally:
        os._exit(0)


def _enter_network(pid: int) -> None:
    """Raises OSError. Only a process of one thread can."""
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    owner = fcntl.ioctl(network, _NS_GET_USERNS)
    linux.set_namespace(owner, _CLONE_NEWUSER)
    linux.set_namespace(network, _CLONE_NEWNET)


def _listen() -> socket.socket:
    """Non-blocking. Raises OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    listener.bind(("127.0.0.1", PORT))
    listener.listen(_BACKLOG)
    return listener
