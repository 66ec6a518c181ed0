"""Which parts a measurement has: each option that switches one on, a line. To add an option, add one here."""

from __future__ import annotations

from latency.cpython.interpreter import Target
from latency.recording import Options
from latency.tracing.probes.part import Part
from latency.tracing.probes.slicing import Slicing


def parts_of(target: Target, options: Options) -> list[Part]:
    """Those that the options ask for. What is imported late need not be there before a plain measurement begins.

    Raises:
        KernelTooOld, UnsupportedBuild: one of them is not possible here.
    """
    found: list[Part] = []
    if options.offcpu or options.self_time:
        from latency.tracing.probes.splitting import Splitting  # it imports the disassembler

        found.append(Splitting.of(target, options))
    if options.slower:
        from latency.tracing.probes.slow import Slow  # it imports the decoder of values

        found.append(Slow(target, options))
    if options.max_overhead_pct is not None:
        found.append(Slicing(options.max_overhead_pct))
    return found
