"""A trace in Chrome's format, which ui.perfetto.dev and chrome://tracing open.

Each stay of a call on its thread's stack is a complete event ("X"): these nest by their times, whatever was lost
between. A call that has not ended is a beginning without an end ("B"), which viewers draw to the end of the trace.

Source: the Trace Event Format (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from latency.recording import trace as told
from latency.recording.trace import TraceEvent, Value
from latency.report.names import escape
from latency.report.units import count

BEGIN, END = "[\n", "\n]\n"


class ChromeTrace:
    """Turns events into the parts of one JSON array: ``BEGIN``, what ``add`` and ``finish`` give, ``END``."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int, int], TraceEvent] = {}
        self._begun = False

    def add(self, event: TraceEvent) -> str:
        """The text that this event adds; often none."""
        key = (event.pid, event.tid, event.frame)
        if event.kind == told.LOST:
            name = f"{count(event.lost)} events lost"
            return self._text({"name": name, "ph": "i", "s": "g", "ts": event.time_ns / 1000, "pid": 0, "tid": 0})
        if event.kind in (told.STARTED, told.RESUMED):
            self._open[key] = event
            return ""
        if event.kind == told.ABANDONED:
            return ""  # it was on no stack
        begun = self._open.pop(key, None)
        if begun is None or begun.function != event.function:
            # Its beginning was lost. How long a call that was suspended has been on the stack since is not known.
            if event.latency_ns is None or event.active_ns:
                return ""
            begun_ns, arguments = event.time_ns - event.latency_ns, None
        else:
            begun_ns, arguments = begun.time_ns, begun.arguments
        of = {**_arguments(arguments), **_outcome(event)}
        slice_ = {"ph": "X", "ts": begun_ns / 1000, "dur": (event.time_ns - begun_ns) / 1000}
        return self._text({**_named(event), **slice_, "args": of})

    def finish(self) -> str:
        """The text of the calls that have not ended."""
        return "".join(
            self._text({**_named(begun), "ph": "B", "ts": begun.time_ns / 1000, "args": _arguments(begun.arguments)})
            for begun in self._open.values()
        )

    def _text(self, found: dict[str, Any]) -> str:
        before, self._begun = ",\n" if self._begun else "", True
        return before + json.dumps(found, separators=(",", ":"))


def _named(event: TraceEvent) -> dict[str, Any]:
    function = event.function
    return {"name": escape(function.qualname) if function else "<unnamed>", "pid": event.pid, "tid": event.tid}


def _arguments(arguments: tuple[Value, ...] | None) -> dict[str, str]:
    return {each.name or "…": each.text + ("~" if each.later else "") for each in arguments or ()}


def _outcome(event: TraceEvent) -> dict[str, str]:
    return dict(_parts(event))


def _parts(event: TraceEvent) -> Iterator[tuple[str, str]]:
    function = event.function
    if function:
        yield "file", f"{function.filename}:{function.line}"
    if event.kind == told.RAISED:
        yield "raised", escape(event.value.text if event.value else event.exception)
    elif event.value:
        yield "returned", event.value.text + ("~" if event.value.later else "")
    elif event.kind == told.YIELDED:
        yield "left by", "suspension"
