"""One measurement of the USDT markers of one process.

attach:  find the markers; load; ends, then beginnings; enable
end:     disable; detach; read
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from latency.cpython.interpreter import Target
from latency.errors import UsageError
from latency.recording import Function, FunctionLatency, Options, Overhead, Recording
from latency.target.markers import MarkedFile, marked_files
from latency.tracing.counted import wire
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.reading import Counted, Reading, Span
from latency.tracing.counted.results import latencies
from latency.tracing.counted.session import CountingSession
from latency.tracing.kernel import clock
from latency.tracing.markers import wire as marking
from latency.tracing.markers.cost import marker_cost_ns
from latency.tracing.markers.names import MarkerNames, unreadable
from latency.tracing.markers.program import MarkerProgram
from latency.tracing.markers.wanted import parse, points

_SLOTS, _MANY_SLOTS = 64, 8192
_SEMAPHORE_BYTES = 2  # sys/sdt.h: unsigned short
_BLIND_SPOTS = {
    "imports": "imports of modules that are loaded already, or that importlib.import_module() was asked for",
    "lines": "lines of code that no trace function watches (from CPython 3.11 on)",
}


class MarkerSession(CountingSession):
    """Measures markers of a target: pairs of them, and single ones.

    Args:
        options: ``markers`` says which; see ``wanted.parse``. Nothing else can be asked for beside them.
        attachment: see ``program.Program``.
        slots: how many names the statistics have room for; of modules half of them.

    Raises:
        UsageError: what was asked for makes no sense.
        NoFunctionMatches: there is no such marker; the hint offers the nearest names.
        UnsupportedBuild: the interpreter has no markers, or an argument is at a place that is not known.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    def __init__(self, target: Target, options: Options, *, attachment: str = "auto", slots: int | None = None) -> None:
        _require_alone(options)
        super().__init__(target, options)
        self._wanted = parse(options.markers)
        self._info = replace(self._info, engine="usdt")
        self._image = target.process.image_identity()
        with target.stopwatch.step("find markers"):
            self._files = marked_files(target.process)
        try:
            self.points = points(self._wanted, self._files, target.build, target.process.pid)
            self._names = MarkerNames(self._wanted, self.points, target.process, target.build)
            with target.stopwatch.step("compile and load"):
                if slots is None:
                    slots = _MANY_SLOTS if any(each.what == "imports" for each in self._wanted) else _SLOTS
                self.program = MarkerProgram(self.points, slots=marking.ITEMS + slots, attachment=attachment)
                self.maps = self.program.maps
        except BaseException:
            _close(self._files)
            raise

    # -- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Place the probes and begin. Raises AttachError, TargetGone."""
        with self.target.stopwatch.step("attach"):
            self.target.process.check()
            self.program.attach(self.target.process.pid)
            self.unseen += self._not_raised()
        for item, each in enumerate(self._wanted):
            if not each.by_name:
                self.maps.statistics["code"][item] = 1
        self._begin()

    def poll(self) -> str:
        """``""``, or why the target cannot be measured any longer: ``"exited"`` or ``"exec"``."""
        if any(each.what == "audit" for each in self._wanted):
            # While the process lives: afterwards a text that was not paged in can only be found in files.
            for key, _ in self.program.names.items():
                if unreadable(key[0]):
                    self._names.function(key[0])
        return self.target.process.ending(self._image)

    def doubt(self) -> str:
        """None: whether a marker has its partner is the program's own matter."""
        return ""

    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""
        self.maps.config["enabled"] = 0
        ended_ns = clock.now_ns()
        self.program.detach()
        self.not_run = self.program.not_run
        recording = self._whole(self._read(ended_ns), self._opens())
        # From here on the program's tables are the calibration's.
        hits = recording.events["hits"]
        names = any(each.by_name for each in self._wanted)
        cost_ns = marker_cost_ns(self.program, self.points, by_name=names) if hits else None
        if cost_ns is None or recording.duration_s <= 0:
            return recording
        share = hits * cost_ns / 1e9 / recording.duration_s
        return replace(recording, overhead=Overhead(hits=hits, ns_per_hit=cost_ns, share_of_cpu=share))

    def close(self) -> None:
        """Take everything away."""
        self.program.close()
        _close(self._files)

    def explain(self) -> Iterator[str]:
        """What is probed where, a line each."""
        for point in self.points:
            role = point.function.rpartition("_")[2]
            semaphore = f"  semaphore {point.semaphore:#x}" if point.semaphore else ""
            yield f"{role:6} {point.marker:36} {point.file.path} +{point.offset:#x}{semaphore}"
        yield f"attached by {self.program.attachment}"
        for name, seconds in self.target.stopwatch.steps:
            yield f"{seconds:6.3f} s  {name}"

    # -- inside ----------------------------------------------------------------------------------

    def _read(self, at_ns: int) -> Reading:
        functions: dict[Function, Counted] = {}
        unnamed = 0
        counters = self.maps.counters()
        names = list(self.program.names.items())  # before the rows: so that each one's row is among them
        rows = self._rows()
        for item, each in enumerate(self._wanted):
            if not each.by_name:
                counted = functions.setdefault(self._names.own(item), Counted())
                counted.add(rows[item])
                counted.slots.append(item)
        for key, named in names:
            function, slot, own_slot = self._names.function(key[0]), int(named["slot"][0]), int(named["own_slot"][0])
            calls = int(named["count"][0])
            if function is None:
                unnamed += calls + (0 if slot == wire.NO_SLOT else int(rows[slot]["returned"] + rows[slot]["raised"]))
                continue
            counted = functions.setdefault(function, Counted())
            counted.returned += calls
            if slot == wire.NO_SLOT:
                continue
            row = rows[slot]
            if self._wanted[int(key["item"][0])].what == "gc":
                name = f"{function.qualname} collected"
                counters[name] = counters.get(name, 0) + int(row["suspensions"])
            row["suspensions"] = 0  # no yields: the sum of the amounts
            counted.add(row)
            counted.slots.append(slot)
            if own_slot != wire.NO_SLOT:
                counted.add(rows[own_slot])
        return Reading(at_ns, functions, unnamed, {}, counters)

    def _rows(self) -> np.ndarray[Any, Any]:
        """A copy of the statistics, with minima and maxima that no race spoilt."""
        used = int(np.flatnonzero(self.maps.statistics["code"]).max(initial=marking.ITEMS - 1)) + 1
        rows: np.ndarray[Any, Any] = self.maps.statistics[:used].copy()
        for key, extremes in self.program.extremes.items():
            slot = int(key["slot"][0])
            if slot < used:
                row, least, most = rows[slot], max(int(extremes["min_ns"][0]), 1), int(extremes["max_ns"][0])
                row["min_ns"] = min(int(row["min_ns"]) or least, least)
                row["max_ns"] = max(int(row["max_ns"]), most)
        return rows

    def _opens(self) -> dict[int, OpenCalls]:
        opens: dict[int, OpenCalls] = {}
        for _, value in self.program.stacks.items():
            for call in value[0]["open"][: min(int(value[0]["depth"]), marking.DEPTH)]:
                opens.setdefault(int(call["slot"]), OpenCalls()).add(int(call["start_ns"]))
        for _, value in self.program.keys.items():
            opens.setdefault(int(value[0]["slot"]), OpenCalls()).add(int(value[0]["start_ns"]))
        return opens

    def _functions(self, span: Span) -> tuple[FunctionLatency, ...]:
        asked = [self._names.own(item) for item, each in enumerate(self._wanted) if not each.by_name]
        return tuple(
            each
            for each in latencies(span.reading, opens=span.opens, slices=self._error_bars(span), earlier=span.earlier)
            if each.calls or each.open or each.function in asked
        )

    def _overhead(self, span: Span) -> Overhead | None:
        """Told at the end: the calibration takes the program's tables."""
        return None

    def _not_raised(self) -> Iterator[str]:
        """The markers whose semaphore the kernel's reference counter did not reach.

        It looks for a private and writable mapping (Linux kernel/events/uprobes.c, valid_ref_ctr_vma).
        """
        mappings = self.target.process.maps()
        told = set()
        for point in self.points:
            if not point.semaphore or (point.marker, point.file.path) in told:
                continue
            values = [
                self.target.process.read_some(each.start + point.semaphore - each.offset, _SEMAPHORE_BYTES)
                for each in mappings
                if each.device_inode == point.file.device_inode
                and each.writable
                and each.private
                and each.offset <= point.semaphore < each.offset + each.size
            ]
            if not any(map(any, values)):
                told.add((point.marker, point.file.path))
                yield f"{point.marker} of {point.file.path}, if the program asks its semaphore: it could not be raised"

    def _blind_spots(self) -> Sequence[str]:
        """Of the markers: those of the interpreter's calls do not count here."""
        what = {each.what for each in self._wanted}
        if self.target.build.version < (3, 11):
            what.discard("lines")
        of_these = [_BLIND_SPOTS[each.what] for each in self._wanted if each.what in what & _BLIND_SPOTS.keys()]
        return (*of_these, *self.unseen)


def _require_alone(options: Options) -> None:
    for name, given in (
        ("--func", options.func),
        ("--children", options.children),
        ("--engine", options.engine != "auto"),
    ):
        if given:
            raise UsageError(
                f"markers are measured by themselves, without {name}",
                "run pylat twice, at the same time if you like: once for functions, once for markers",
            )


def _close(files: list[MarkedFile]) -> None:
    for file in files:
        file.image.close()
