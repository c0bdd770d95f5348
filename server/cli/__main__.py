"""`python -m watchglass.server.cli` is the same as `watchglass`."""

from __future__ import annotations

import sys

from .entrance import main

sys.exit(main())
