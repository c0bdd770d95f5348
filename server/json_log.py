"""Logs: one JSON object a line on standard error, through the standard library's logging."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from watchglass.protocol.errors import printable

from .config import LogLevel

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """`ts, level, logger, message`, then what `extra` brought, then the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "ts": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _PLAIN)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return _dumped(line)
        except TypeError:  # Names of files may be no UTF-8, and numbers of any size.
            return _dumped({name: printable(str(value)) for name, value in line.items()})


@contextmanager
def logging_json(level: LogLevel) -> Iterator[None]:
    """Log to standard error while the block runs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _dumped(line: dict[str, object]) -> str:
    return orjson.dumps(line, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def _utc(time_s: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(time_s))}.{int(time_s % 1 * 1000):03d}Z"
