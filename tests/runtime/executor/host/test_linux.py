"""Facts of /proc, asked of real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from watchglass.runtime.executor import host

FORKS = """
import json, os, sys
sys.path.append(sys.argv[1])
from linux import own_start_ticks, start_ticks

own = own_start_ticks()
told, known = own, start_ticks(os.getpid())
hears, says = os.pipe()
while told == own == known:  # Until one was forked a clock tick later.
    if (pid := os.fork()) == 0:
        os.write(says, b"%d" % own_start_ticks())
        os._exit(0)
    told, known = int(os.read(hears, 64)), start_ticks(pid)
    os.waitpid(pid, 0)
print(json.dumps([own, told, known]))
"""


def test_a_fork_of_a_process_that_told_its_start_tells_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(Path(host.__file__).parent)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    own, told, known = json.loads(done.stdout)
    assert told == known > own
