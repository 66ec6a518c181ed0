"""``script/fleet``: what agents promise, with real servers. Each part writes fleet_NAME.json and .md."""

from __future__ import annotations

import sys

from benchmarks import run

PARTS = ("workers", "many", "passing", "faults")

if __name__ == "__main__":
    sys.exit(
        run.main(
            PARTS,
            package="benchmarks.fleet",
            about=__doc__,
            title="What agents promise",
            summary="fleet_summary.md",
            alone=False,
        )
    )
