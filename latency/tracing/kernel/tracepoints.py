"""Raw tracepoints of which each event must be seen: forks, execs, ends of threads.

From Linux 7.0 on their programs can be preempted, and one whose run for another task is not over is left out. So each
hangs there twice, and what the first was left out of the second sees, unless it is left out as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from latency.tracing.kernel.calls import missed_runs

_AGAIN = "_again"


def twice(tracepoints: Mapping[str, str]) -> dict[str, str]:
    """BPF functions with the tracepoint of each, and behind them their seconds (in C: ``NAME_again``)."""
    return {**tracepoints, **{name + _AGAIN: tracepoint for name, tracepoint in tracepoints.items()}}


def left_out(functions: Mapping[str, int], tracepoints: Iterable[str]) -> int:
    """Events, at most, that no program has seen.

    Args:
        functions: the descriptors of loaded programs.
        tracepoints: those of them that hang on tracepoints; others are not asked.
    """
    missed = {name: missed_runs(functions[name]) for name in tracepoints if name in functions}
    first = {name: count for name, count in missed.items() if not name.endswith(_AGAIN)}
    return sum(min(count, missed.get(name + _AGAIN, count)) for name, count in first.items())
