"""What a measurement by watchpoints is asked for: whether it can be met, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from latency.cpython.functions import LiveFunction
from latency.cpython.interpreter import Target
from latency.cpython.sites import Role
from latency.cpython.watch_points import WatchPlan, WatchPoints, refusal, watch_points
from latency.errors import UsageError
from latency.recording import Options
from latency.tracing.counted.switches import switch_flags
from latency.tracing.watch.compiling import Beside

if TYPE_CHECKING:
    from latency.tracing.watch.slow import WatchSlow


def require_watchable(target: Target, options: Options) -> None:
    """Raises UsageError where these options cannot be met by watchpoints, whatever the functions are."""
    if not options.func:
        raise UsageError("the watch engine measures single functions", "name them with --func")
    if options.self_time:
        raise UsageError("the engine watch does not see which calls a function makes", "take --engine auto")
    if target.around:
        raise UsageError(
            f"the watch engine follows the forks of a Python, and process {target.pid} is none",
            f"give -p {target.process.pid}, or take another --engine",
        )


def slow_log(target: Target, options: Options) -> WatchSlow | None:
    """The slow calls of a session; None where none are asked for."""
    if not options.slower:
        return None
    from latency.tracing.watch.slow import WatchSlow  # it imports the decoder of values

    return WatchSlow(target, options)


def beside(target: Target, options: Options, slow: WatchSlow | None) -> Beside:
    """What the options want beside counts. Raises KernelTooOld."""
    flags = slow.flags() if slow else None
    if not options.offcpu:
        return Beside(options.children, flags)
    from latency.cpython.sites.collector import gc_sites  # it imports the disassembler

    return Beside(options.children, flags, switch_flags(), gc_sites(target.build.image, target.build.markers))


def points_of(target: Target, plan: WatchPlan, wanted: Sequence[LiveFunction], options: Options) -> list[WatchPoints]:
    """Where these functions are watched. Raises UsageError."""
    refused = refusal(target.process, target.build, target.offsets, wanted, forks=options.children)
    if refused:
        raise refused
    if options.offcpu and (
        suspend := sorted({it.function.qualname for it in wanted if it.function.kind != "function"})
    ):
        raise UsageError(
            f"the engine watch does not see when {', '.join(suspend)} runs, so not where its time goes (--offcpu)",
            "take --engine auto, or name other functions",
        )
    found = [watch_points(target.process, target.offsets, live) for live in wanted]
    if any(each.needs_probe for each in found) and not any(plan.of(Role.RAISE)):
        raise UsageError("where this build unwinds a frame is not known", "take another --engine")
    return found
