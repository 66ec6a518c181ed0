"""Measures a program from its first call to its end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial

from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.launch import Launched, launch
from latency.tracing.loop import Outcome, Stop, measure
from latency.tracing.measurement import begin


def run_measured(
    command: Sequence[str], options: Options, *, user: str | None = None, foreground: bool = True
) -> tuple[Outcome | None, int]:
    """Run a program with the probes in place before its Python runs anything.

    The first CPython that the program becomes, or starts, is measured; with ``options.children`` its children too.

    Args:
        foreground: the program has the terminal: its output is shown, Ctrl-C is its own, and SIGTERM is passed on to
            it. Otherwise its output is dropped, and Ctrl-C ends both.

    Returns:
        (what was seen, None if the program never ran Python; the exit status as a shell says it).

    Raises:
        UsageError: there is no such program or user, or no such engine for its Python.
        TargetError, HostError: its CPython cannot be measured here; the program has been killed.
    """
    launched = launch(command, user=user, quiet=not foreground, look=partial(Target, engine=options.engine))
    if launched.target is None:
        return None, launched.wait()
    try:
        measurement = begin(launched.target, options, late=True)
    except BaseException:
        launched.kill()
        raise
    with closing(measurement):
        try:
            measurement.start()
        except BaseException:
            launched.kill()
            raise
        stop = Stop()
        if foreground:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: _pass_on(launched))
        launched.release()
        waiter = threading.Thread(target=_wait, args=(launched, stop), daemon=True)
        waiter.start()
        outcome = measure([measurement], stop)
        # The measured process may be another than the one that was started, and end before it.
        waiter.join()
    return outcome, launched.wait()


def _wait(launched: Launched, ended: Stop) -> None:
    launched.wait()
    ended.set()


def _pass_on(launched: Launched) -> None:
    with suppress(ProcessLookupError):
        os.kill(launched.pid, signal.SIGTERM)
