"""One measurement of one process by watchpoints.

attach:  calibrate; watch exits, then entries; look once more at the code objects; enable
end:     disable; detach; read
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from latency.cpython.code_digest import CodeDigests
from latency.cpython.functions import LiveFunction, describe, live_functions
from latency.cpython.interpreter import Target
from latency.cpython.patterns import matcher_of, not_there_yet, nothing_matches
from latency.cpython.watch_points import WatchPlan, WatchPoints
from latency.errors import AttachError, TargetGone
from latency.recording import Function, Losses, Options, Overhead, ProcessCalls, Recording
from latency.tracing.counted.agreement import Seen
from latency.tracing.counted.codes import About
from latency.tracing.counted.opencalls import OpenCalls
from latency.tracing.counted.reading import Reading, Span
from latency.tracing.counted.session import CountingSession
from latency.tracing.counted.spaces import Space
from latency.tracing.counted.switches import GREENLETS, has_greenlets
from latency.tracing.kernel import clock
from latency.tracing.kernel.host import require_first_pid_namespace, resident_bytes
from latency.tracing.limit.watched import SlicesWatched
from latency.tracing.watch.asked import JIT, beside, points_of, require_watchable, slow_log, text_of
from latency.tracing.watch.compiling import compile_watch
from latency.tracing.watch.definitions import Definitions
from latency.tracing.watch.forked import forked_as_it_is, in_children_alone
from latency.tracing.watch.gone import Gone
from latency.tracing.watch.program import WatchProgram, counted
from latency.tracing.watch.turns import Turns
from latency.tracing.watch.unended import Unended, unaccounted
from latency.tracing.watch.wire import EXECUTED

if TYPE_CHECKING:
    pass


class WatchSession(CountingSession):
    """Measures a few functions of a target, in turns where they are more than a few, and costs the others nothing.

    Args:
        target: whose plan is a ``WatchPlan`` (``Target(pid, engine="watch")``).
        options: ``func`` and ``regex`` say which functions; ``children`` follows forks.
        lives: the target's functions, where somebody has just looked for them.

    Raises:
        NoFunctionMatches: no live function matches; the hint offers the nearest names.
        UsageError: more functions than can be watched, or of a kind that cannot be.
        HostError: bcc, the kernel or the privileges do not allow it.
    """

    def __init__(self, target: Target, options: Options, *, lives: Sequence[LiveFunction] | None = None) -> None:
        assert isinstance(target.plan, WatchPlan)
        require_watchable(target, options)
        super().__init__(target, options)
        self._plan = target.plan
        self._matcher = matcher_of(options, target.process)
        self._image = target.process.image_identity()
        self._trap_ns = 0.0
        self._unlike: list[int] = []  # children that are not followed
        self._closed = 0  # calls that were found to be abandoned when the measurement ended
        self._handed = 0  # calls that another engine has seen begin
        self._slow = slow_log(target, options)
        needs = beside(target, options, self._slow)
        self.unseen += [JIT] if needs.jit else []
        if options.children:
            require_first_pid_namespace()
        if options.offcpu and has_greenlets(target.process):
            self.unseen.append(GREENLETS)
        # The compiler is another process: search the heap meanwhile.
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(compile_watch, target.offsets, self._plan, needs)
            with target.stopwatch.step("find functions"):
                self._points = self._find_functions(lives)
            with target.stopwatch.step("wait for the compiler"):
                made = compiling.result()
        with target.stopwatch.step("load"):
            threads, ring_bytes = len(target.process.threads()), self._slow.ring_bytes if self._slow else 0
            self.program = WatchProgram(made, self._plan, threads=threads, beside=needs, slow_bytes=ring_bytes)
        self.maps = self.program.maps
        self._past = Gone(self.program)
        self._unended = Unended(target, self.program, self._points, self._ended)
        self.turns = Turns(target, self.program, self._points, self._unended, self.watched)
        self._definitions = Definitions(target, self._matcher, self._points)
        if self._slow:
            self._slow.watch(self.maps, self._points, self._unended)

    @property
    def functions(self) -> list[LiveFunction]:
        """Those that are watched."""
        return [points.live for points in self._points]

    # -- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Place the watchpoints and begin. Raises AttachError, KernelTooOld, TargetGone."""
        target, program = self.target, self.program
        with target.stopwatch.step("calibrate"):
            self._trap_ns = program.trap_ns()
            program.maps.config["trap_ns"] = round(self._trap_ns)
        with target.stopwatch.step("attach"):
            exit_type = target.build.address("PyExc_GeneratorExit")
            program.maps.config["generator_exit_type"] = target.process.u64(exit_type)
            program.maps.config["code_type"] = target.build.address("PyCode_Type")
            program.maps.config["text_begins"], program.maps.config["text_ends"] = text_of(target.build)
            self._place()
        self._count()

    def poll(self) -> str:
        """``""``, or why nothing can be measured any longer: ``"exited"`` or ``"exec"``."""
        why = self._ended()
        if self._slow:
            self._slow.poll()
        if self.options.children:
            self._past.look()
        if not why and self._first is not None:
            self._definitions.are_freed(self.turns.freed | self.program.freed(self.target.process.pid))
            try:
                now, before = self.maps.counters(), self._first.counters
                cost_ns = self._cost_ns({name: now[name] - before[name] for name in now})
                self.hurries = self.turns.keep(cost_ns / 1e9)
            except TargetGone:
                why = self._ended() or "exited"
        return "" if why and self.options.children and self._others_alive() else why

    def stop(self) -> Recording:
        """End the measurement: disable, detach, read."""
        # Found while ends are still seen: what ends later is open at the end, and not an end that was missed.
        over = self._unended.over_for_certain()
        self.maps.config["enabled"] = 0
        ended_ns = clock.now_ns()
        opens, unseen = self._unended.open_calls(over)
        self._closed = self.turns.closed + self._unended.count_closed(over)
        self.program.detach()
        if self._slow:
            self._slow.end()
        self._definitions.look()
        self.unseen += [] if JIT in self.unseen else self.target.compiled_since(self.unseen)
        self._memory_bytes, self._map_bytes = resident_bytes(), self.maps.map_bytes
        self.not_run = self.program.not_run
        self.vanished += unseen + self.turns.vanished
        return self._whole(self._read(ended_ns), opens)

    def look_again(self) -> None:
        """Call it beside ``poll`` where it matters what is defined later: ``unwatched`` is kept up to date then."""
        self._definitions.look_again()

    def doubt(self) -> str:
        """As ``CountingSession`` says; or that a function that matches was defined since."""
        return super().doubt() or self._definitions.take_line()

    @property
    def unwatched(self) -> int:
        """How many functions are known to match and not to be watched."""
        return self._definitions.unwatched

    def close(self) -> None:
        """Take everything away."""
        self._definitions.close()
        if self._slow:
            self._slow.close()
        self.program.close()

    def restart(self) -> None:
        """Begin once more, as if nothing had been seen so far. Raises what ``start`` does."""
        self.maps.config["enabled"] = 0
        self.program.detach()
        self.program.forget_calls()
        self.maps.statistics[:] = 0
        self.program.splits.clear(range(len(self._points)))
        if self._slow:
            self._slow.restart(clock.now_ns())
        self.watched = SlicesWatched()
        self.turns = Turns(self.target, self.program, self._points, self._unended, self.watched)
        self._place()
        self._count()

    def go_on_from(self, first: Reading, handed: int) -> None:
        """What came since that reading counts, and what came before was another engine's.

        Args:
            handed: how many calls were open then.
        """
        self._first, self._handed = first, handed
        self.watched.restart(first.at_ns)
        self._slices.skip(self.maps)
        if self._slow:
            self._slow.restart(first.at_ns)

    def reading(self, at_ns: int) -> Reading:
        """What has been counted by now, which is ``at_ns``."""
        return self._read(at_ns)

    def seen(self) -> Seen:
        """What is to be compared with what the probes see: of the functions that are watched now, and wholly."""
        return self._unended.seen(self.turns.whole)

    # -- inside ----------------------------------------------------------------------------------

    def _place(self) -> None:
        target = self.target
        target.process.check()
        children, self._unlike = forked_as_it_is(target, self._points) if self.options.children else ([], [])
        self.turns.place(children)
        for points in self._points:
            now = describe(target.process, target.build, target.offsets, points.live.address)
            if now is None or now.function.line != points.live.function.line:
                raise AttachError(f"{points.live.function.qualname} was freed just now", "try again")
        self._about = _about(target, self._points)

    def _count(self) -> None:
        self.turns.tell()
        if self._slow:
            self._slow.begin()
        self._begin()
        self.keeper = self.turns.begin(self.options.max_overhead_pct if self._may_be_sliced else None)

    def _ended(self) -> str:
        return self.target.process.ending(self._image)

    def _others_alive(self) -> bool:
        """Whether a followed child still runs the target's program."""
        pids = [int(key[0]) for key, value in self.program.processes.items() if not value["ended"][0]]
        return any(pid != self.target.process.pid for pid in pids)

    def _find_functions(self, lives: Sequence[LiveFunction] | None) -> list[WatchPoints]:
        target = self.target
        matcher = self._matcher
        if lives is None:
            lives = live_functions(target.process, target.build, target.offsets)
        if self._slow:
            self._slow.found(lives)
        wanted = [live for live in lives if matcher.matches(live)]
        if not wanted:
            elsewhere = in_children_alone(target, matcher) if self.options.children else None
            raise elsewhere or nothing_matches(matcher, lives)
        self._of_compiled([(Space(0, target.process.pid, target.process), live) for live in wanted])
        missing = matcher.unmatched(lives)
        self._missing = lambda: missing
        self.remarks += not_there_yet(missing, matcher, lives)
        return points_of(target, self._plan, wanted, self.options)

    def _next_reading(self) -> Reading:
        reading = super()._next_reading()
        if self._slow:
            self._slow.take()
        return reading

    def _read(self, at_ns: int) -> Reading:
        functions = counted(self.program, self._points)
        calls = (
            sum(each.returned for each in functions.values()),
            sum(each.raised for each in functions.values()),
        )
        return Reading(at_ns, functions, 0, {0: calls}, self.maps.counters())

    def _processes(self, reading: Reading) -> tuple[ProcessCalls, ...]:
        found = [*self._past.calls]
        for key, value in self.program.processes.items():
            each = value[0]
            found.append(
                ProcessCalls(int(key[0]), int(each["returned"]), int(each["raised"]), ended=bool(each["ended"]))
            )
        return tuple(sorted(found, key=lambda each: each.pid))

    def _opens(self) -> Mapping[int, OpenCalls]:
        return self._unended.open_calls(self._unended.over())[0]

    def _not_followed(self) -> list[str]:
        lines = [f"process {pid}, which is a child, but not forked from the target as it is" for pid in self._unlike]
        values = [value[0] for _, value in self.program.processes.items()]
        if others := self._past.executed + sum(int(value["ended"]) == EXECUTED for value in values):
            lines.append(f"what {others:,} children did after they replaced themselves by another program (exec)")
        return lines

    def _recording(self, span: Span) -> Recording:
        recording = super()._recording(span)
        events = {**recording.events, "abandoned": recording.events["abandoned"] + self._closed}
        events["entries"] += self._handed if span.whole else 0
        recording = replace(recording, events=events)
        if self._slow:
            recording = self._slow.told(recording, span)
        if not span.over:
            return recording
        lost = Losses(unwatched=self.unwatched, unmatched_entry=unaccounted(recording))
        return replace(recording, losses=recording.losses + lost)

    def _blind_spots(self) -> Sequence[str]:
        return (
            *super()._blind_spots(),
            *self._of_suspending(),
            *self._not_followed(),
            self._resolution(),
            *self._unlimited(),
            *self._definitions.lines(),
        )

    @property
    def _may_be_sliced(self) -> bool:
        """Whether the watchpoints can be away for a time: a fork would go on unseen."""
        return not self.options.children

    def _unlimited(self) -> list[str]:
        if self.options.max_overhead_pct is None or self._may_be_sliced:
            return []
        return ["--max-overhead is not kept: this engine takes no slices of children"]

    def _of_suspending(self) -> list[str]:
        names = ", ".join(sorted({each.live.function.qualname for each in self._points if each.suspends}))
        return [f"of {names}: how often they are suspended, and the time that they run"] if names else []

    def _resolution(self) -> str:
        return (
            f"a watchpoint hit takes {self._trap_ns / 1000:.1f} µs here and is taken off: "
            f"calls below {1.4 * self._trap_ns / 1000:.1f} µs are not resolved"
        )

    def _overhead(self, span: Span) -> Overhead | None:
        hits, cost_ns = span.counters["hits"], self._cost_ns(span.counters)
        if not hits or span.duration_s <= 0:
            return None
        return Overhead(
            hits=hits,
            ns_per_hit=cost_ns / hits,
            share_of_cpu=cost_ns / 1e9 / span.duration_s,
            memory_bytes=self._memory_bytes,
            map_bytes=self._map_bytes,
        )

    def _cost_ns(self, counters: Mapping[str, int]) -> float:
        """Of hits, and of telling slow calls."""
        return counters["hits"] * self._trap_ns + counters["taken_ns"]

    def _attached(self) -> Iterator[str]:
        turns = len(self.turns.groups)
        how = f"{self.program.attachment}, in {turns} turns" if turns > 1 else self.program.attachment
        yield f"live functions that match: {len(self.functions):,}; attached by {how}"


def _about(target: Target, watched: Sequence[WatchPoints]) -> Callable[[Function], About]:
    """What is known of their code."""
    digests = CodeDigests(target.build, target.offsets).take(
        target.process, [points.live.address for points in watched]
    )
    known: dict[Function, set[str]] = {}
    for points in watched:
        known.setdefault(points.live.function, set()).add(digests.get(points.live.address, ""))
    owners = {points.live.function: points.live.owners for points in watched}
    return lambda function: About(next(iter(known[function])) if len(known[function]) == 1 else "", owners[function])
