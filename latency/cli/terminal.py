"""Writing to a terminal, a pipe or a log."""

from __future__ import annotations

import os
import shutil
import sys

from latency.errors import PylatError
from latency.report.names import escape

_MOST_COLUMNS = 120
_LONGEST_LINE = 1000  # of an error: it may hold a name that came from a target


def say(text: str) -> None:
    """What a person wants to know while it runs: to standard error, so that standard output is the report alone."""
    print(text, file=sys.stderr, flush=True)


def complain(error: PylatError, *, verbose: bool) -> None:
    """One line for what is wrong, one for what to do; the long text only if it was asked for."""
    say(f"pylat: {escape(str(error), _LONGEST_LINE)}")
    if error.hint:
        say(f"  {escape(error.hint, _LONGEST_LINE)}")
    if verbose and error.detail:
        say(error.detail.rstrip())


def color() -> bool:
    """Whether standard output is a terminal that wants colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns of the report: the terminal's, within reason; 80 elsewhere."""
    if not sys.stdout.isatty():
        return 80
    return min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
