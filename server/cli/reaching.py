"""A client for the chosen runtime; what is heavy is imported here, when it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from watchglass.client.finding import Choice, Found, find

from .faults import UsageFault
from .trusting import cacert

if TYPE_CHECKING:
    from watchglass.client.http import Client

    from .options import Where


def found(where: Where) -> Found:
    """The runtime that the common options choose. Raises ClientFault, UsageFault."""
    if where.url and where.runtime:
        raise UsageFault("--url and --runtime: give one of them")
    try:
        return find(Choice(where.url, where.token_file, where.runtime, cacert=cacert()))
    except ValueError as fault:
        raise UsageFault(str(fault)) from None


@contextmanager
def reaching(where: Where) -> Iterator[Client]:
    """A client for it; closed after the block."""
    with client_for(found(where)) as client:
        yield client


def client_for(runtime: Found) -> Client:
    """A client of a runtime that was found."""
    from watchglass.client.http import Client

    return Client(runtime.address)


def path_of(worker: str, *rest: str) -> str:
    """The path of a worker, or of something of it. Raises UsageFault for what can be no id."""
    from watchglass.client.call import worker_path

    if not worker.strip() or worker in {".", ".."}:
        raise UsageFault(f"{worker!r} is no worker id")
    return worker_path(worker, *rest)
