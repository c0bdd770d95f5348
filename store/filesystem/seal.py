"""Lines that carry the checksum of what stands before them.

    {…,"crc":"9a8b7c6d"}\\n

`crc` is the CRC-32 (zlib's) of every byte before its eight digits, in 16-base
lower case. In a file of many sealed lines it is cumulative: each sum counts
from the file's first byte, so one calculation verifies any stretch that ends
with a sealed line, given the state where the stretch begins.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import orjson

KEY = b'"crc":"'
END_BYTES = 11  # Eight digits and what closes the line.
_END = b'%08x"}\n'


def sealed(body: bytes, crc: int = 0) -> tuple[bytes, int]:
    """`body`, which ends with `"crc":"`, closed; and the state behind it."""
    end = _END % crc32(body, crc)
    return body + end, crc32(end, crc32(body, crc))


def stated_crc(line: bytes) -> int | None:
    """What a sealed line, given with its newline, says; None when it has not the form of one."""
    digits = line[-END_BYTES:-3]
    if line[-3:] != b'"}\n' or line[-END_BYTES - len(KEY) : -END_BYTES] != KEY:
        return None
    try:
        crc = int(digits, 16)
    except ValueError:
        return None
    return crc if b"%08x" % crc == digits else None


def crc_behind(line: bytes) -> int | None:
    """The state behind a sealed line, if it says the truth; None when it has not the form of one."""
    crc = stated_crc(line)
    return None if crc is None else crc32(line[-END_BYTES:], crc)


def sealed_json(facts: dict[str, Any]) -> bytes:
    """One JSON object as a sealed line."""
    return sealed(orjson.dumps(facts)[:-1] + b"," + KEY)[0]


def unsealed_json(data: bytes) -> dict[str, Any] | None:
    """The object of a sealed line; None when its checksum does not hold."""
    crc = stated_crc(data)
    if crc is None or crc32(data[:-END_BYTES]) != crc:
        return None
    facts: dict[str, Any] = orjson.loads(data)
    return facts
