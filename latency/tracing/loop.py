"""The measuring loop: one or several sessions until the time is up, the user stops it, or the targets end."""

from __future__ import annotations

import os
import select
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from latency.cpython.patterns import unseen
from latency.recording import Recording, combined
from latency.recording.totals import Totals
from latency.tracing.bystanders import Bystanders
from latency.tracing.measurement import Measurement
from latency.tracing.strangers import Strangers

_POLL_S = 0.05
_SLICES = 30  # error bars are made of that many parts of the measurement
_SLICE_S = 1.0  # where the end is not known


class Stop:
    """The wish to end, which a signal handler may express.

    ``threading.Event`` is not made for that: where its ``set`` interrupts its ``wait`` in the same thread, each waits
    for the other. A write and a select know nothing of each other.
    """

    def __init__(self) -> None:
        self._set = False
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)

    def set(self) -> None:
        """From a signal handler, or any thread."""
        self._set = True
        os.eventfd_write(self._fd, 1)

    def is_set(self) -> bool:
        """Whether it was expressed."""
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Until it is expressed, for so long at most. Returns whether it was."""
        if not self._set:
            select.select([self._fd], (), (), timeout_s)
        return self._set


@dataclass(frozen=True)
class Standing:
    """How a measurement that goes on stands.

    Attributes:
        running: what measures now.
        finished: what was seen of processes that did not last.
        counted: the same, as columns.
        ended: for each of these, ``"exited"`` or ``"exec"``, by PID.
    """

    running: Sequence[Measurement]
    finished: Sequence[Recording]
    counted: Sequence[Totals]
    ended: Mapping[int, str]


@dataclass
class Outcome:
    """How a measurement ended.

    Attributes:
        recording: what was seen, all processes together.
        processes: the same of each process, in the order of the sessions.
        other_programs: PIDs of children that run another program, and so were not seen.
        ended: for each process that did not last, ``"exited"`` or ``"exec"``, by PID.
        missing: the patterns that meant no function.
        nearest: of each of these what looks like it, where that is known.
        extensions: the extension modules that the target had loaded, where that is known.
        bystanders: the names of children that ran Python and were not measured, by PID.
    """

    recording: Recording
    processes: list[Recording]
    ended: dict[int, str] = field(default_factory=dict)
    other_programs: list[int] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    nearest: dict[str, list[str]] = field(default_factory=dict)
    extensions: list[str] = field(default_factory=list)
    bystanders: dict[int, str] = field(default_factory=dict)


def measure(
    sessions: Sequence[Measurement],
    stop: Stop,
    *,
    duration_s: float | None = None,
    interval_s: float | None = None,
    on_interval: Callable[[Recording], None] | None = None,
    listener: Callable[[Standing], None] | None = None,
    on_doubt: Callable[[int, str], None] | None = None,
    bystanders: Bystanders | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Measure with sessions that have been started, and stop them.

    A session whose process ends is stopped then, and its recording kept; the loop ends with the last of them.
    Children that turn into a CPython of another build get sessions of their own.

    Args:
        listener: is called at each interval, in the loop's own thread; once more when all processes have ended.
        on_doubt: is given a PID, and why its build may not be as pylat takes it to be.
        bystanders: who looks at children that are not measured; else those of the targets are looked at.
    """
    begin = clock()
    slice_s = max(duration_s / _SLICES, _POLL_S) if duration_s else _SLICE_S
    next_slice, next_interval = begin + slice_s, begin + (interval_s or 0)
    running = list(sessions)
    everything = list(sessions)
    strangers = Strangers(clock=clock)
    finished: dict[int, Recording] = {}
    counted: list[Totals] = []
    ended: dict[int, str] = {}
    if bystanders is None:
        alone = [session.target for session in sessions if not session.options.children]
        bystanders = Bystanders([target.process for target in alone], alone)
    while running:
        moments = [clock() + _POLL_S, next_slice]
        moments += [begin + duration_s] if duration_s is not None else []
        moments += [next_interval] if interval_s else []
        stopped = stop.wait(max(0.0, min(moments) - clock()))
        for session in list(running):
            why = session.poll()
            strangers.watch(session)
            doubt = session.doubt()
            if doubt and on_doubt:
                on_doubt(session.target.pid, doubt)
            if why:
                ended[session.target.pid] = why
                counted += session.totals() if listener else []
                finished[id(session)] = session.stop()
                running.remove(session)
        bystanders.look()
        begun = strangers.started()
        running += begun
        everything += begun
        now = clock()
        if now >= next_slice:
            for session in running:
                session.end_slice()
            next_slice += slice_s
        if interval_s and (now >= next_interval or not running):
            if on_interval and running:
                on_interval(combined([session.interval() for session in running]))
            if listener:
                listener(Standing(running, list(finished.values()), counted, ended))
            next_interval = max(next_interval + interval_s, now)  # who was stopped for a while catches up with nothing
        if stopped or (duration_s is not None and now >= begin + duration_s):
            break
    begun = strangers.close()
    everything += begun
    for session in running + begun:
        finished[id(session)] = session.stop()
    for session in everything[len(sessions) :]:
        session.close()
    recordings = [finished[id(session)] for session in everything]
    patterns = sessions[0].options.func if sessions else ()
    missing = [each for each in patterns if all(each in session.missing for session in everything)]
    recording = combined(recordings)
    recording = replace(recording, blind_spots=(*recording.blind_spots, *unseen(missing)))
    return Outcome(recording, recordings, ended, strangers.others, missing, bystanders=bystanders.pythons)
