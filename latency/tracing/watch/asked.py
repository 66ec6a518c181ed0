"""What a measurement by watchpoints is asked for: whether it can be met, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from latency.cpython import jit
from latency.cpython.functions import LiveFunction
from latency.cpython.interpreter import Target
from latency.cpython.sites import Role
from latency.cpython.watch_points import WatchPlan, WatchPoints, refusal, watch_points
from latency.errors import UsageError
from latency.recording import Options
from latency.target.build import Build
from latency.tracing.counted.switches import has_greenlets, switch_flags
from latency.tracing.watch.compiling import Beside

if TYPE_CHECKING:
    from latency.tracing.watch.slow import WatchSlow


JIT = "in code of the JIT a call is told by the reference count alone: it begins when its frame is made"
"""What is different there."""


def text_of(build: Build) -> tuple[int, int]:
    """From where to where the interpreter's own code lies in the process."""
    code = [each for each in build.image.segments if each.executable]
    begin, end = min(each.address for each in code), max(each.address + each.file_size for each in code)
    return begin + build.bias, end + build.bias


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
    """What the options want beside counts. Raises KernelTooOld, UsageError."""
    flags, jitted = slow.flags() if slow else None, _may_be_jitted(target, options)
    if not options.offcpu:
        return Beside(options.children, flags, jit=jitted)
    from latency.cpython.sites.collector import gc_sites  # it imports the disassembler

    collector = gc_sites(target.build.image, target.build.markers)
    return Beside(options.children, flags, switch_flags(), collector, jitted)


def _may_be_jitted(target: Target, options: Options) -> bool:
    """Whether calls in code of the JIT are to be told, by the reference count alone."""
    if not jit.may_run(target.process, target.build):
        return False
    if options.slower or options.children or has_greenlets(target.process):
        raise UsageError(
            "the target's JIT is on: the watch engine does not tell then which call of a function is slow (--slower), "
            "nor calls of children (--children) and of greenlets",
            "start it with PYTHON_JIT=0",
        )
    return True


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
