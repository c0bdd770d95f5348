"""What passes between the server and what runs outside it: framing only. All little-endian.

The spawn daemon's socket, a SOCK_SEQPACKET pair:

    request   "F" with one descriptor: the supervisor's end of a control channel
    answer    "F", i32: the supervisor's pid, with its pidfd; or minus the errno
    request   "S": answer when nothing is left of supervisors that died
    answer    "S", i32: 0
    request   "P" with one descriptor: the end of a stream that `probing.py` speaks on
    answer    "P", i32: the pid of the process that probes, as for "F"

Answers of one letter come in order, and those to "F" and "P" as if they were one.

A control channel, a SOCK_STREAM for each supervisor, carries frames:

    0        4      5                 5 + length
    | length | kind | body ...        |          length counts the body alone

From the server:              From the supervisor:
    PLAN         JSON             STARTED       JSON {pid, started_at_us, verified}
    INPUT        bytes            FAILED        JSON {step, subject, error_number[, uid]}
    CLOSE_STDIN                   WAKE          output was written since the last one
    STOP         u64 grace_ms     TAKEN         u64, bytes of input the pipe took in all
    KILL                          STDIN_CLOSED  no further input can be delivered
    SIGNAL       u8 number        EXIT          JSON, the content of exit.json; the worker's last frame
                                  FREE          the supervisor can have another worker
                                  STATE         JSON {pid, started_at_us, received_input_bytes,
                                                taken_bytes, stdin_closed, stdin_closing, cause,
                                                verified}
                                  EGRESS        empty, with a descriptor: see below

STDIN_CLOSED is not said of a worker whose plan says so from the start.
`verified` is what `verify.py` found in force after the start, or null.

The first channel is one end of a pair. PLAN comes first, and with its first byte
a descriptor: the worker's folder, locked (flock) until run.json tells of a program
that runs, or the launch has failed. STARTED or FAILED answers it. After a FREE
another PLAN may come, and with it another worker; what else was on its way to the
one before is dropped. FREE is said on the first channel alone, and when exit.json is
in the folder: so whoever finds run.json without it finds the supervisor with this worker.
The end of the channel is the server's lease running out: a supervisor that sees
it kills its worker.

A worker that outlives its server has no such lease, and its supervisor listens
on `ctl.sock` in the folder. The newest connection is the channel; STATE is its
first frame but for EGRESS. INPUT goes on at `received_input_bytes`: whole frames that reached
the supervisor before the end of an earlier channel count, a half one does not.

EGRESS comes with its first byte's descriptor, the socket that listens in the
worker's network (`netns.py`), if its plan asks for one: before STARTED, and on a
later channel before STATE. The supervisor keeps its own for the next server.
"""

from __future__ import annotations

import struct

FORK = b"F"
SETTLE = b"S"
PROBE = b"P"
ANSWER = struct.Struct("<ci")

PLAN = 1
INPUT = 2
CLOSE_STDIN = 3
STOP = 4
KILL = 5
SIGNAL = 6

STARTED = 65
FAILED = 66
WAKE = 67
TAKEN = 68
STDIN_CLOSED = 69
EXIT = 70
STATE = 71
EGRESS = 72
FREE = 73

CONTROL = "ctl.sock"

INPUT_FRAME_BYTES_MAX = 64 * 1024
INPUT_WINDOW_BYTES = 128 * 1024
"""How much input the server may have sent that TAKEN has not covered yet."""

BODY_BYTES_MAX = 16 * 1024 * 1024
"""A plan may be this long: an environment and an argv, both escaped as JSON."""

_HEADER = struct.Struct("<IB")
_U64 = struct.Struct("<Q")


class WireError(Exception):
    """The other side does not speak this format; the channel is of no more use."""


def pack(kind: int, body: bytes = b"") -> bytes:
    """One frame. Raises WireError when the body is longer than BODY_BYTES_MAX."""
    if len(body) > BODY_BYTES_MAX:
        raise WireError(f"a body of {len(body)} bytes, at most {BODY_BYTES_MAX} are allowed")
    return _HEADER.pack(len(body), kind) + body


def pack_u64(number: int) -> bytes:
    return _U64.pack(number)


def unpack_u64(body: bytes) -> int:
    try:
        return int(_U64.unpack(body)[0])
    except struct.error:
        raise WireError(f"expected 8 bytes, got {len(body)}") from None


def unpack_u8(body: bytes) -> int:
    if len(body) != 1:
        raise WireError(f"expected 1 byte, got {len(body)}")
    return body[0]


def control_path(directory_fd: int) -> str:
    """A way to `ctl.sock` that fits a socket address, which takes 107 bytes, however deep the folder is."""
    return f"/proc/self/fd/{directory_fd}/{CONTROL}"


class Decoder:
    """Bytes in, whole frames out. It keeps at most one unfinished frame."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, received: bytes) -> list[tuple[int, bytes]]:
        """The frames that `received` completes, as (kind, body). Raises WireError."""
        rest = self._rest
        rest += received
        frames = []
        at = 0
        while len(rest) - at >= _HEADER.size:
            length, kind = _HEADER.unpack_from(rest, at)
            if length > BODY_BYTES_MAX:
                raise WireError(f"a frame announces {length} bytes, at most {BODY_BYTES_MAX} are allowed")
            end = at + _HEADER.size + length
            if len(rest) < end:
                break
            frames.append((kind, bytes(rest[at + _HEADER.size : end])))
            at = end
        del rest[:at]
        return frames
