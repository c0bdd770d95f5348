"""A refused upgrade, as `websockets` tells it."""

from __future__ import annotations

from websockets.http11 import Response

from .call import Answer


def answer_of(response: Response) -> Answer:
    """The same as an answer to any request."""
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return Answer(response.status_code, response.reason_phrase, headers, bytes(response.body or b""))
