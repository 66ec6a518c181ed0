"""From what is asked for to the program that is loaded: flags, the compiler, the sizes of the maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latency.cache import Cache
from latency.cpython.functions import LAMBDA
from latency.cpython.interpreter import Target
from latency.cpython.patterns import Matcher
from latency.errors import CompileError, KernelTooOld
from latency.recording import Options
from latency.tracing.counted.parameters import Capacity, cflags, process_flags
from latency.tracing.kernel.allocation import grows
from latency.tracing.kernel.btf import member_offset
from latency.tracing.kernel.compiler import kept_or_compiled
from latency.tracing.probes.part import Part
from latency.tracing.probes.program import Program, needed, sizes_agree

SLOTS, MANY_SLOTS = 1024, 8192
"""Of statistics: for the functions that a pattern names, and for thousands that are met at once."""
_MANY_EVENT_BYTES = 8 << 20


class Loader:
    """Compiles and loads the program of one measurement.

    Args:
        matcher: which functions are wanted; None for all of them.
        parts: what is switched on beside.
        attachment: see ``Program``.

    Attributes:
        names: the bare names of which the patterns want functions; None where these do not tell them.
    """

    def __init__(
        self, target: Target, options: Options, matcher: Matcher | None, parts: Sequence[Part], attachment: str = "auto"
    ) -> None:
        self.names = matcher.bare_names if matcher else None
        if self.names is not None and "frame.function" in target.offsets:
            self.names |= {LAMBDA}  # which may have been given another name
        self._by_module = matcher is not None and matcher.by_module
        self._target, self._options, self._parts, self._attachment = target, options, parts, attachment

    def flags(self) -> list[str]:
        """For the compiler."""
        target, options = self._target, self._options
        return cflags(
            target.offsets,
            target.plan,
            every_function=not options.func,
            children=options.children,
            by_name=self.names is not None,
            by_module=self._by_module,
            task_slept=_slept(),
            further={
                **{name: value for part in self._parts for name, value in part.flags().items()},
                **(process_flags() if options.children else {}),
            },
        )

    def load(self, slots: int, known: int = 0, processes: int = 0) -> Program:
        """The program, with nothing attached.

        Args:
            slots: of statistics.
            known, processes: code objects and processes that are in the tables from the first; their own size is for
                those to come.

        Raises:
            MissingBcc, CompileError, NoPrivilege, HostError
        """
        options, target = self._options, self._target
        with target.stopwatch.step("compile"):
            names = needed(target.plan, children=options.children, parts=self._parts)
            made = kept_or_compiled(self.flags(), names, Cache())
        if not sizes_agree(made, self._parts):
            raise CompileError("bpf/pylat.h and tracing/counted/wire.py disagree on a struct", "reinstall pylat")
        capacity = Capacity(slots=slots)
        if slots >= MANY_SLOTS:
            capacity = replace(capacity, event_bytes=_MANY_EVENT_BYTES)
        if not grows():
            capacity = capacity.preallocated(len(target.process.threads()))
        for part in self._parts:
            capacity = part.capacity(capacity)
        most_names = max(capacity.names, len(self.names or ()))
        capacity = replace(
            capacity,
            names=most_names,
            functions=capacity.functions + known,
            processes=capacity.processes + processes,
        )
        with target.stopwatch.step("load"):
            return Program(
                made,
                target.plan,
                capacity,
                children=options.children,
                parts=self._parts,
                attachment=self._attachment,
            )


def _slept() -> int:
    """Where the kernel counts how often a task has slept ("voluntary context switches"); -1 where that is not known."""
    try:
        return member_offset("task_struct", "nvcsw")
    except KernelTooOld:
        return -1
