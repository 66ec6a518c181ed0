"""``pylat report``: a saved recording once more. Needs no root, no bcc and no Linux."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latency import __version__
from latency.cli import output
from latency.errors import UsageError
from latency.export.formats import BINARY, FORMATS, export
from latency.histogram import SCALE
from latency.recording import Recording, dumps, load


def run(arguments: argparse.Namespace) -> int:
    """Render every run of the file."""
    exported = arguments.format in FORMATS
    if not exported and (arguments.service or arguments.scale is not None or arguments.delta):
        raise UsageError(
            "--service, --scale and --delta belong to the formats for other programs", "give --format otlp"
        )
    if arguments.format in BINARY and sys.stdout.isatty():
        raise UsageError(f"{arguments.format} is binary, and this is a terminal", "write it to a file, or into a pipe")
    runs = load(Path(arguments.file))
    if exported:
        output.write_bytes(_exported(runs, arguments))
    elif arguments.format == "json":
        sys.stdout.write(dumps(runs) + "\n")
    elif arguments.format == "html":
        output.write_page(runs, arguments)
    else:
        print("\n".join(output.text(run, arguments) for run in runs), end="")
    return output.DONE if any(run.calls for run in runs) else output.NOTHING_MEASURED


def _exported(runs: list[Recording], arguments: argparse.Namespace) -> bytes:
    scale = SCALE if arguments.scale is None else arguments.scale
    return export(
        runs, arguments.format, version=__version__, service=arguments.service, scale=scale, delta=arguments.delta
    )
