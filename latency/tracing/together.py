"""Several processes in one measurement, which have nothing to do with each other but the interpreter that they run.

A measurement that follows children has its probes in every process that maps the interpreter, and its programs let
those pass that they do not follow: with a second measurement of the same interpreter each hit runs two programs, and
with a hundred a hundred. One that follows them all costs each of them what it would alone.
"""

from __future__ import annotations

from latency.cpython.patterns import Matcher
from latency.recording import Function
from latency.tracing.auto import Auto
from latency.tracing.counted.spaces import Joining, OwnFunction, Series
from latency.tracing.measurement import Measurement
from latency.tracing.probes.session import Session

__all__ = ["Joining", "Series", "forget_ended", "forget_series", "join", "look_at", "series_alive", "series_of"]


def look_at(measurement: Measurement, pid: int, *, young: bool, series: Series = ()) -> Joining | None:
    """What a measurement has to know of a process, with its children, to measure it, too; from any thread.

    Args:
        series: what tells its functions from those that the measurement began with (``series_of``).
        young: it has just begun, and may end soon. Its functions are not searched for where they can as well be told
            when they are called: from 3.11 on, by patterns that say their names.

    Returns:
        None where it cannot be measured so: it runs another interpreter, there is no room, or watchpoints measure.

    Raises:
        TargetError: it cannot be read.
    """
    session = _probing(measurement)
    if session is None or _is_half_full(session):
        return None
    by_name = Matcher.parse(session.options.func, regex=session.options.regex).bare_names is not None
    search = not young or not by_name or "code.qualname" not in session.target.offsets
    found = session.following.look_at(pid, session.table, search=search)
    for space in found.spaces if found else ():
        space.series = series
    return found


def join(measurement: Measurement, joining: Joining) -> bool:
    """They are measured from now on, in the thread that asks the measurement; False where that cannot be any longer.

    ``auto`` does not change its mind after that.
    """
    session = _probing(measurement)
    if session is None:
        return False
    if isinstance(measurement, Auto):
        measurement.stay()
    session.following.join(joining, session.maps, session.table)
    return True


def forget_ended(measurement: Measurement) -> None:
    """Processes that have ended, and were told in an interval, are told no more: for who measures for months, and would
    have to keep a line for each."""
    session = _probing(measurement)
    if session:
        session.following.forget_gone(session.table.retired)


def series_alive(measurement: Measurement) -> set[Series]:
    """The series of the processes that have not ended, those aside that no probes measure: ``()``."""
    session = _probing(measurement)
    return {space.series for space in session.spaces.values() if not space.ended} if session else {()}


def forget_series(measurement: Measurement, series: Series) -> None:
    """What was counted of processes with this series, which have ended, is asked for no more."""
    session = _probing(measurement)
    if session:
        known = dict.fromkeys(each for each, _ in session.table.retired.rows if each)
        session.table.retired.forget(each for each in known if series_of(each)[1] == series)


def series_of(function: Function) -> tuple[Function, Series]:
    """(The function of a recording as it is in the program, whose it is: ``()`` of who was not told apart.)"""
    return (function.plain, function.series) if isinstance(function, OwnFunction) else (function, ())


def _is_half_full(session: Session) -> bool:
    """Of what those have left that it measures already, these need some themselves."""
    capacity, spaces = session.program.capacity, list(session.spaces.values())
    known = sum(len(space.lives) for space in spaces)
    used = len(session.maps.used_slots())
    return 2 * max(known / capacity.functions, len(spaces) / capacity.processes, used / capacity.slots) > 1


def _probing(measurement: Measurement) -> Session | None:
    """The session with probes that follows children; None where there is none."""
    session = measurement.session if isinstance(measurement, Auto) else measurement
    return session if isinstance(session, Session) and session.options.children else None
