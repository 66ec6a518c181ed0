"""Traces a program under test within this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

from latency.cpython.interpreter import Target
from latency.recording import Options, Recording
from latency.recording.trace import TraceEvent
from latency.tracing.measurement import begin_trace


class Tracer:
    """A trace that has begun. Events are taken all the while, as the command does.

    Args:
        pid: of the program.
        func: patterns; none for every function.
        options: of ``begin_trace``, and ``engine``.
    """

    def __init__(self, pid: int, func: Iterable[str] = (), *, engine: str = "auto", **options: object) -> None:
        target = Target(pid, engine=engine)
        asked = Options(func=tuple(func), engine=engine, show_secrets=True)  # made-up values may look like secrets
        self.session, self.trace = begin_trace(target, asked, **options)  # type: ignore[arg-type]
        self.events: list[TraceEvent] = []
        self._enough = threading.Event()
        self._taking = threading.Thread(target=self._take)
        try:
            self.session.start()
        except BaseException:
            self.session.close()
            raise
        self._taking.start()

    def stop(self) -> Recording:
        """Ends it. ``events`` are all of them then."""
        self._enough.set()
        self._taking.join()
        recording = self.session.stop()
        self.events += self.trace.take_last()
        return recording

    def pause(self) -> None:
        """From here on events are taken when it stops, or by ``trace.take``."""
        self._enough.set()
        self._taking.join()

    def _take(self) -> None:
        while not self._enough.wait(0.005):
            self.events += self.trace.take()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._taking.join()
        self.session.close()
