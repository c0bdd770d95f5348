"""`python -m watchglass.server.cli` is the same as `watchglass`."""

from __future__ import annotations

import sys

from .entry import main

sys.exit(main())
