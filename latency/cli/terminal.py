"""Writing to a terminal, a pipe or a log."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Protocol

from latency.errors import PylatError
from latency.report.names import escape

# What a report is drawn with, where the terminal has no more than its own letters.
_PLAIN = {"µ": "u", "μ": "u", "±": "+-", "×": "x", "≥": ">=", "…": "...", "–": "-", "—": "-"}
_PLAIN |= dict.fromkeys("█▉▊▋▌▐", "#") | dict.fromkeys("▍▎▏", ".")

_MOST_COLUMNS = 120
_CLEAR = "\r\x1b[K"  # the line
_NEXT_S = 0.5
_LONGEST_LINE = 1000  # of an error: it may hold a name that came from a target


def show_any_text() -> None:
    """Nothing that is printed may fail for its letters: what the terminal's encoding has not is shown in those that all
    have, and what came from a target as ``\\u....``."""
    codecs.register_error("pylat", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pylat")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(it) or it.encode("ascii", "backslashreplace").decode() for it in letters), error.end


def typed(text: str) -> str:
    """A name of a program as it was typed. Python took it for text of the locale; where it is UTF-8, it is that."""
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        return text


class Stopwatch(Protocol):
    """What tells what is being done: ``cpython.interpreter.Stopwatch``, which not every command needs."""

    under_way: list[str]


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


@contextmanager
def progress(stopwatches: Sequence[Stopwatch], *, after_s: float = 2.0) -> Iterator[None]:
    """On a terminal: says what is being done, and for how long already, once that is more than two seconds."""
    if not sys.stderr.isatty():
        yield
        return
    ended = Event()
    shows = Thread(target=_show_progress, args=(stopwatches, ended, after_s), daemon=True)
    shows.start()
    try:
        yield
    finally:
        ended.set()
        shows.join()


def _show_progress(stopwatches: Sequence[Stopwatch], ended: Event, after_s: float) -> None:
    begin_s, shown = time.monotonic(), False
    wait_s = after_s
    while not ended.wait(wait_s):
        doing = ", ".join(dict.fromkeys(name for each in stopwatches for name in tuple(each.under_way)))
        sys.stderr.write(f"{_CLEAR}{doing or 'preparing'} … {time.monotonic() - begin_s:.0f} s")
        sys.stderr.flush()
        wait_s, shown = _NEXT_S, True
    if shown:
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()


def is_dumb() -> bool:
    """Whether the terminal, where there is one, can only go on to the next line."""
    return os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")


def color() -> bool:
    """Whether standard output is a terminal that wants colour (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns of the report: the terminal's, within reason; 80 elsewhere."""
    if not sys.stdout.isatty():
        return 80
    return min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
