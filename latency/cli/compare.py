"""``pylat compare``: the verdict for CI. Needs no root, no bcc and no Linux."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latency.cli.terminal import color, width
from latency.errors import RecordingError
from latency.recording.fast import load_two
from latency.report.compare import Comparison, compare, exit_status
from latency.report.compare_export import custom_smaller_is_better, render_github, render_json, render_markdown
from latency.report.compare_gates import DEFAULT_GATES, Gate
from latency.report.compare_text import render_text
from latency.report.picture import render_html


def run(arguments: argparse.Namespace) -> int:
    """Compare two recordings, each of one or more runs."""
    base, head = load_two(Path(arguments.base), Path(arguments.head))
    comparison = compare(base, head, gates(arguments), max_loss=arguments.max_loss / 100)
    show(comparison, arguments)
    return exit_status(comparison, strict=arguments.strict)


def gates(arguments: argparse.Namespace) -> tuple[Gate, ...]:
    """What ``--fail`` declares. Raises UsageError."""
    return tuple(Gate.parse(text) for text in arguments.fail) or DEFAULT_GATES


def show(comparison: Comparison, arguments: argparse.Namespace) -> None:
    """Print the comparison as the arguments ask for it, and write its picture. Raises RecordingError."""
    if arguments.format == "json":
        text = render_json(comparison)
    elif arguments.format == "benchmark":
        text = custom_smaller_is_better(comparison)
    elif arguments.format in ("markdown", "github"):
        text = (render_markdown if arguments.format == "markdown" else render_github)(comparison)
    else:
        text = render_text(comparison, width=width(), color=color(), top=arguments.top)
    sys.stdout.write(text)
    if arguments.html:
        try:
            Path(arguments.html).write_text(render_html(comparison, top=arguments.top), encoding="utf-8")
        except OSError as error:
            raise RecordingError(
                f"cannot write {arguments.html}: {error.strerror}", "give --html another path"
            ) from None
