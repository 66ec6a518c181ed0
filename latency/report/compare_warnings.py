"""What makes a comparison doubtful: two sides that differ in more than the program."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from latency.report.compare_sides import Side
from latency.report.names import escape
from latency.report.units import percent

_ABOUT = {
    "python": "Python",
    "kernel": "the kernel",
    "machine": "the CPU",
    "cpus": "the number of CPUs",
    "engine": "the engine",
}


def warnings(base: Side, head: Side, max_loss: float) -> Iterator[str]:
    """One line for each doubt, safe to show.

    Args:
        max_loss: the share of calls that a run may have lost, 0 .. 1.
    """
    for name, what in _ABOUT.items():
        seen = [{escape(str(getattr(run.run.target, name)), 60) for run in side.runs} for side in (base, head)]
        if len(seen[0] | seen[1]) > 1:
            yield f"{what} is not the same: base {_few(seen[0])}, head {_few(seen[1])}"
    known = [any((~np.isnan(run.error_ns)).any() for run in side.runs) for side in (base, head)]
    if known[0] != known[1] and len({run.run.target.engine for side in (base, head) for run in side.runs}) == 1:
        yield (
            f"what pylat's probes took is taken off in {'base' if known[0] else 'head'} alone, and is part of the "
            "other side's latencies: record both with the same pylat"
        )
    scales = [{str(scale) for scale in side.scales} for side in (base, head)]
    if len(scales[0] | scales[1]) > 1:
        coarsest = min(base.scales | head.scales)
        yield f"grids of scale base {_few(scales[0])}, head {_few(scales[1])}: compared on scale {coarsest}"
    if {run.run.id for run in base.runs} & {run.run.id for run in head.runs}:
        yield "a run is on both sides"
    first = _base_first(base, head)
    if not 0.2 <= first <= 0.8:
        yield (
            f"{'base' if first > 0.5 else 'head'} ran before the other side, not in turns: "
            "a machine that drifts looks like a change; use pylat bench"
        )
    for name, side in (("base", base), ("head", head)):
        engines = [run.run.target.engine for run in side.runs if run.run.watched is not None]
        if engines:
            fewer = ", and fewer functions by watch" if "watch" in engines else ""
            yield (
                f"{name} was watched in slices in {len(engines)} of {len(side.runs)} runs, where long calls are seen "
                f"less often than short ones: measure with --max-overhead none{fewer}"
            )
        losses = [run.loss_share for run in side.runs]
        if max(losses) > max_loss:
            many = sum(share > max_loss for share in losses)
            yield f"{name} lost up to {percent(max(losses))} of its calls, in {many} of {len(losses)} runs"


def _base_first(base: Side, head: Side) -> float:
    """Of all pairs of a base and a head run, the share in which base began first: 1/2 and a little when in turns."""
    times = [np.array([run.run.started_at.timestamp() for run in side.runs]) for side in (base, head)]
    if min(map(len, times)) < 2:
        return 0.5
    earlier = np.sign(times[1][None, :] - times[0][:, None])
    return float((earlier.mean() + 1) / 2)


def _few(values: set[str]) -> str:
    shown = sorted(values)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") or "none"
