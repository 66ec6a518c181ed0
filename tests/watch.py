"""Measures a program under test within this process, from one moment to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from latency.cpython.interpreter import Target
from latency.recording import FunctionLatency, Options, Recording
from latency.tracing.loop import Outcome, Stop, measure
from latency.tracing.probes.cost import HitCost
from latency.tracing.probes.session import Session

Truth = Mapping[str, Mapping[str, int]]


class Watch:
    """A measurement of one process that has begun. A context manager that takes it away.

    Args:
        pid: of the program.
        func: patterns; none for every function.
        engine: as ``--engine`` names it.
        elapsed: latencies hold what the probes took, as those do that the program measures of itself meanwhile.
        options: further ones.
    """

    def __init__(
        self, pid: int, func: Iterable[str] = (), *, engine: str = "auto", elapsed: bool = False, **options: object
    ) -> None:
        self.session = Session(Target(pid, engine=engine), Options(func=tuple(func), **options))  # type: ignore[arg-type]
        if elapsed:
            self.session.hit_cost = HitCost(0.0, 0.0)  # so nothing is taken off
        self._enough = Stop()
        self._pool = ThreadPoolExecutor(1)
        try:
            self.session.start()
        except BaseException:
            self.session.close()
            raise
        self._outcome: Future[Outcome] = self._pool.submit(measure, [self.session], self._enough)

    def stop(self) -> Recording:
        """Ends the measurement."""
        self._enough.set()
        return self._outcome.result().recording

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._pool.shutdown()
        self.session.close()


def of_names(recording: Recording, names: Iterable[str]) -> dict[str, list[FunctionLatency]]:
    """The functions of each name in the program's own files, those that were not called included."""
    found: dict[str, list[FunctionLatency]] = {name: [] for name in names}
    for each in recording.functions:
        if each.function.qualname in found and "/pylat-" in each.function.filename:
            found[each.function.qualname].append(each)
    return found


def wrong(recording: Recording, truth: Truth) -> dict[str, object]:
    """What a recording says otherwise than the program itself; empty where all is right."""
    differences: dict[str, object] = {}
    for name, functions in of_names(recording, truth).items():
        seen = {key: sum(getattr(each, key) for each in functions) for key in truth[name]}
        if seen != truth[name] or any(each.open for each in functions):
            differences[name] = {"seen": seen, "open": sum(each.open for each in functions), "known": truth[name]}
    differences.update({name: count for name, count in recording.losses.as_dict().items() if count})
    if recording.began_before:
        differences["began_before"] = recording.began_before
    return differences


def unaccounted(recording: Recording) -> int:
    """Calls that began, and neither ended in one of the known ways nor are open."""
    events = recording.events
    opened = sum(each.open for each in recording.functions)
    return events["entries"] - events["matched"] - events["abandoned"] - opened - recording.losses.total
