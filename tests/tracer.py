"""Traces a program under test within this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

from latency.recording import Options, Recording
from latency.recording.trace import TraceEvent
from latency.tracing.probes.session import Target
from latency.tracing.probes.trace import TraceSession


class Tracer:
    """A trace that has begun. Events are taken all the while, as the command does.

    Args:
        pid: of the program.
        func: patterns; none for every function.
        options: of ``TraceSession``, and ``engine``.
    """

    def __init__(self, pid: int, func: Iterable[str] = (), *, engine: str = "auto", **options: object) -> None:
        self.session = TraceSession(Target(pid, engine=engine), Options(func=tuple(func)), **options)  # type: ignore[arg-type]
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
        self.events += self.session.take_last()
        return recording

    def pause(self) -> None:
        """From here on events are taken when it stops, or by ``session.take``."""
        self._enough.set()
        self._taking.join()

    def _take(self) -> None:
        while not self._enough.wait(0.005):
            self.events += self.session.take()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._taking.join()
        self.session.close()
