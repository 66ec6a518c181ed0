"""One event of a trace: a call that begins, goes on, pauses or ends; or events that were lost."""

from __future__ import annotations

from dataclasses import dataclass

from latency.recording.function import Function

STARTED, RESUMED, RETURNED, RAISED, YIELDED, ABANDONED = "start", "resume", "return", "raise", "yield", "abandon"
LOST = "lost"
ENDS = (RETURNED, RAISED, ABANDONED)


@dataclass(frozen=True, slots=True)
class Value:
    """The text of an object of the target.

    Attributes:
        text: one line without control characters; bounded, with an ellipsis where it was cut.
        later: some of it was read after the event, and may have changed since.
        name: of an argument.
    """

    text: str
    later: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One event.

    Attributes:
        kind: one of the constants above.
        time_ns: since the epoch.
        pid, tid: of the thread that it happened in, as the target itself numbers them; 0 of LOST.
        host_pid, host_tid: the kernel's own numbers of these: others where the target is in a PID namespace.
        depth: how many calls that are shown too are open around this one in its thread.
        function: whose call it is; None of LOST, and of a function whose name could not be read.
        frame: address of the frame: tells the calls apart that are open at one time.
        latency_ns: of an end, since the first start; of a suspension, since the start or the resumption; None of a
            start, and where it is not known.
        active_ns: of the end of a call that was suspended: how long it ran.
        arguments: of a start; None if they were not asked for.
        value: what was returned, or the exception; None if it was not asked for.
        exception: the name of the exception's class.
        lost: how many events were lost here.
    """

    kind: str
    time_ns: int
    pid: int = 0
    tid: int = 0
    depth: int = 0
    function: Function | None = None
    frame: int = 0
    latency_ns: int | None = None
    active_ns: int = 0
    arguments: tuple[Value, ...] | None = None
    value: Value | None = None
    exception: str = ""
    lost: int = 0
    host_pid: int = 0
    host_tid: int = 0
