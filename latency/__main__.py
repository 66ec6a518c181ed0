"""``python -m latency``: the same as the command ``pylat``."""

from __future__ import annotations

import sys

from latency.cli import main

if __name__ == "__main__":
    sys.exit(main())
