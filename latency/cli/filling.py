"""``pylat -p PID`` on a terminal: a table that fills in place while it measures, and makes way for the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from latency.cli.terminal import is_dumb
from latency.tracing.loop import Standing
from latency.tracing.measurement import Measurement

FILLED_EACH_S = 1.0
Listener = Callable[[Standing], None]


def fills(arguments: argparse.Namespace) -> bool:
    """Whether there is a terminal for it, and no other reports on it."""
    watched = sys.stdout.isatty() and sys.stderr.isatty() and not is_dumb()
    return watched and arguments.format not in ("json", "html") and getattr(arguments, "interval", None) is None


@contextmanager
def filling(measurements: Sequence[Measurement], arguments: argparse.Namespace) -> Iterator[Listener | None]:
    """The listener for the measuring loop, which draws the table; None where there is none to be drawn."""
    if not fills(arguments):
        yield None
        return
    from latency.live.filling import Filling  # it imports rich, for which no probe should wait

    with Filling(top=arguments.top, unit=arguments.unit) as table:
        yield table.listen
