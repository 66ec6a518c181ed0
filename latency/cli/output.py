"""A recording on its way out: text or JSON on standard output, a file, and the exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from latency.cli.terminal import color, width
from latency.errors import RecordingError, UsageError
from latency.recording import Recording, append, dump, dumps, load, to_json

DONE, NOTHING_MEASURED, LOSSY = 0, 3, 4


def show(recording: Recording, arguments: argparse.Namespace) -> None:
    """Print a report as the arguments ask for it."""
    if arguments.format == "json":
        sys.stdout.write(dumps([recording]) + "\n")
    elif arguments.format == "html":
        write_page([recording], arguments)
    else:
        sys.stdout.write(text(recording, arguments))
    sys.stdout.flush()


def show_interval(recording: Recording, arguments: argparse.Namespace) -> None:
    """Print one of several reports: as JSON, each is one line."""
    if arguments.format == "json":
        print(json.dumps({"schema": "pylat/1", "runs": [to_json(recording)]}, separators=(",", ":")), flush=True)
    else:
        print(text(recording, arguments), flush=True)


def page(recordings: Sequence[Recording], arguments: argparse.Namespace) -> str:
    """The report as HTML."""
    from latency.report.html import render_html

    return render_html(recordings, unit=arguments.unit, top=arguments.top, full=arguments.full)


def write_page(recordings: Sequence[Recording], arguments: argparse.Namespace) -> None:
    """The page, in the encoding that it names, whatever that of the terminal is."""
    write_bytes(page(recordings, arguments).encode())


def write_bytes(text: bytes) -> None:
    """As they are; where standard output takes text alone, as UTF-8."""
    sys.stdout.flush()
    out = getattr(sys.stdout, "buffer", None)
    if out is None:
        sys.stdout.write(text.decode())
    else:
        out.write(text)


def text(recording: Recording, arguments: argparse.Namespace) -> str:
    """The text report."""
    from latency.report.text import render  # it imports rich, for which no probe should wait

    return render(
        recording,
        unit=arguments.unit,
        width=width(),
        color=color(),
        top=arguments.top,
        timestamp=arguments.timestamp,
        full=arguments.full,
    )


def require_place(arguments: argparse.Namespace) -> None:
    """Find out before the measurement that ``-o`` and ``--append`` do not go together, or lead nowhere.

    Raises:
        UsageError: to append, and no file.
        RecordingError: see ``require_writable``.
    """
    if arguments.append and not arguments.output:
        raise UsageError("--append adds to a file, and there is none", "give -o FILE")
    if arguments.output:
        require_writable(arguments.output, to_append=arguments.append)


def require_writable(path: str, *, to_append: bool = False) -> None:
    """Find out before the measurement that its recording cannot be saved.

    Raises:
        RecordingError: the folder is missing or not writable, or the path is a folder; or, to append to, no recording.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise IsADirectoryError(21, os.strerror(21))
        with tempfile.NamedTemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise RecordingError(f"cannot write {path}: {error.strerror}", "give -o another path") from None
    if to_append and file.exists():
        load(file)


def save(recording: Recording, arguments: argparse.Namespace) -> None:
    """Write the recording where ``-o`` says. Raises RecordingError."""
    if arguments.output:
        (append if arguments.append else dump)([recording], Path(arguments.output))


def exit_status(recording: Recording, *, max_loss_pct: float) -> int:
    """0; 3 where no call was seen; 4 where more was lost than is allowed."""
    if not recording.calls and not any(each.open or each.abandoned for each in recording.functions):
        return NOTHING_MEASURED
    return LOSSY if recording.loss_share * 100 > max_loss_pct else DONE
