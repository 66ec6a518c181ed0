"""Measures a program from its first call to its end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial

from latency.cpython.compiled import extension_modules
from latency.cpython.functions import LiveFunction, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher, nearest
from latency.cpython.watch_points import ENGINE as WATCH
from latency.errors import NothingMeasured, PylatError, TargetError
from latency.recording import Options
from latency.target.process import Process
from latency.tracing.bystanders import Bystanders
from latency.tracing.launch import Launched, launch
from latency.tracing.loop import Outcome, Stop, measure
from latency.tracing.measurement import Measurement, begin

_LOOK_S = 0.1
_LOOKS_S = (0.2, 0.5, 1.5, 5.0, 15.0, 45.0)  # between looks at what functions there are


def run_measured(
    command: Sequence[str], options: Options, *, user: str | None = None, foreground: bool = True
) -> tuple[Outcome | None, int]:
    """Run a program with the probes in place before its Python runs anything.

    The first CPython that the program becomes, opens or starts is measured; with ``options.children`` all that the
    program starts.

    Args:
        foreground: the program has the terminal: its output is shown, Ctrl-C is its own, and SIGTERM is passed on to
            it. Otherwise its output is dropped, and Ctrl-C ends both.

    Returns:
        (what was seen, None if the program never ran Python; the exit status as a shell says it).

    Raises:
        UsageError: there is no such program or user, or no such engine for its Python.
        NothingMeasured: its CPython was not seen to come.
        TargetError, HostError: its CPython cannot be measured here; the program has been killed.
    """
    launched = launch(
        command,
        user=user,
        quiet=not foreground,
        look=partial(Target, engine=options.engine),
        spare_registers=options.engine == WATCH,
    )
    if launched.target is None:
        if launched.late:
            raise NothingMeasured(
                f"{command[0]} opened its CPython without its dynamic linker, so no call was seen; it ended with "
                f"{launched.wait()}",
                "start it by itself, and measure it with pylat -p PID --children",
            )
        return None, launched.wait()
    if options.children and launched.pid != launched.target.process.pid:
        with suppress(TargetError):  # it has ended already
            launched.target.around = Process(launched.pid)
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
        bystanders = _bystanders(launched.pid, launched.target, options)
        if foreground:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: _pass_on(launched))
        launched.release()
        waiter = threading.Thread(target=_wait, args=(launched, stop), daemon=True)
        waiter.start()
        names = _Names(measurement, stop)
        names.start()
        outcome = measure([measurement], stop, bystanders=bystanders)
        # The measured process may be another than the one that was started, and end before it.
        while waiter.is_alive():
            bystanders.look()
            waiter.join(_LOOK_S)
        names.join()
        outcome.nearest = names.nearest(outcome.missing)
        outcome.extensions = names.extensions
    return outcome, launched.wait()


def _bystanders(pid: int, target: Target, options: Options) -> Bystanders:
    """Of all that the program starts, where only its first Python is measured."""
    try:
        roots = [] if options.children else [Process(pid)]
    except TargetError:  # it has ended already
        roots = []
    return Bystanders(roots, [target])


class _Names(threading.Thread):
    """While a pattern has meant no function, looks now and then what there is, for the nearest names at the end."""

    def __init__(self, measurement: Measurement, ended: Stop) -> None:
        super().__init__(daemon=True)
        self._measurement, self._ended = measurement, ended
        self._lives: list[LiveFunction] = []
        self.extensions: list[str] = []

    def run(self) -> None:
        """Until the program has ended, or every pattern means something."""
        target = self._measurement.target
        for pause_s in _LOOKS_S:
            if self._ended.wait(pause_s) or not self._measurement.missing:
                return
            try:
                self._lives = live_functions(target.process, target.build, target.offsets)
                self.extensions = extension_modules(target.process)
            except PylatError:
                return  # it has ended, or is no such Python any more

    def nearest(self, patterns: Sequence[str]) -> dict[str, list[str]]:
        """By pattern; of none where the program was too short to be looked at, or where it means one not called."""
        regex = self._measurement.options.regex
        unknown = [it for it in patterns if Matcher.parse([it], regex=regex).unmatched(self._lives)]
        return {each: near for each in unknown if (near := nearest(each, self._lives))}


def _wait(launched: Launched, ended: Stop) -> None:
    launched.wait()
    ended.set()


def _pass_on(launched: Launched) -> None:
    with suppress(ProcessLookupError):
        os.kill(launched.pid, signal.SIGTERM)
