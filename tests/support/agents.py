"""Programs that a worker may run in a test: real processes, as small as they can be."""

from __future__ import annotations

import sys
from typing import Any

CAT: dict[str, Any] = {"program": "cat"}

JSONL_ECHO = """
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    for word in said["content"].split():
        print(json.dumps({"event": "text_delta", "data": {"text": word}}), flush=True)
    print(json.dumps({"event": "text_done", "data": {"text": said["content"]}}), flush=True)
"""

DIGEST = """
import hashlib, sys
print("ready", flush=True)
sys.stdin.buffer.readline()
seen = hashlib.sha256()
while chunk := sys.stdin.buffer.read(65536):
    seen.update(chunk)
print(seen.hexdigest(), flush=True)
"""

DEEP = """
import sys
print('{"event":"x","data":{"deep":' + "[" * 400 + "]" * 400 + "}}", flush=True)
sys.stdin.read()
"""

INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
print("ready", flush=True)
sys.stdin.read()
"""


def python(program: str) -> dict[str, Any]:
    """An execution of a Python program."""
    return {"program": sys.executable, "args": ["-uc", program]}


def shell(script: str) -> dict[str, Any]:
    """An execution of a shell script."""
    return {"kind": "script", "script": script}
