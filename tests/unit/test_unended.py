"""Each call that began is one that ended, is open, or is lost: what is left over is lost, too."""

from __future__ import annotations

import pytest

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency, Losses, Recording, TargetInfo
from latency.tracing.watch.unended import unaccounted

TARGET = TargetInfo((1,), "app", "3.13.0", "", "/usr/bin/python3", "watch", "table 3.13", "6.1", "x86_64", 2)
WORK = Function("work", "app.py", 1, "function")


def recording(entries: int, matched: int, abandoned: int = 0, *, open_calls: int = 0, losses: Losses) -> Recording:
    events = {"entries": entries, "matched": matched, "abandoned": abandoned}
    latency = FunctionLatency(WORK, returned=matched, raised=0, wall=Histogram.empty(), open=open_calls)
    return Recording(TARGET, 1.0, (latency,), events=events, losses=losses)


@pytest.mark.parametrize(
    ("losses", "left"),
    [
        (Losses(), 3),
        (Losses(unmatched_entry=1, too_deep=1), 1),
        (Losses(thread_ended=3), 0),
        (Losses(bad_frame=9), 3),  # no beginning was counted there
        (Losses(table_full=9), 0),
    ],
)
def test_calls_that_are_nowhere_are_lost(losses: Losses, left: int) -> None:
    assert unaccounted(recording(10, 4, 1, open_calls=2, losses=losses)) == left


def test_a_measurement_in_which_each_has_ended_lost_nothing() -> None:
    assert unaccounted(recording(5, 4, 1, losses=Losses())) == 0
