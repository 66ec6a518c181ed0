"""``pylat report``: a saved recording once more. Needs no root, no bcc and no Linux."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latency.cli import output
from latency.recording import dumps, load


def run(arguments: argparse.Namespace) -> int:
    """Render every run of the file."""
    runs = load(Path(arguments.file))
    if arguments.format == "json":
        sys.stdout.write(dumps(runs) + "\n")
    elif arguments.format == "html":
        output.write_page(runs, arguments)
    else:
        print("\n".join(output.text(run, arguments) for run in runs), end="")
    return output.DONE if any(run.calls for run in runs) else output.NOTHING_MEASURED
