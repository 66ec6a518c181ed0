"""A measurement that passes everything on to another one, which may be exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from latency.cpython.interpreter import Target
from latency.recording import Recording
from latency.recording.totals import Totals
from latency.tracing.counted.session import CountingSession

_Session = TypeVar("_Session", bound=CountingSession)


class Passing(Generic[_Session]):
    """All of a ``Measurement`` but its ``start``.

    Attributes:
        session: what measures now.
        looked_s: how much of the measurement's time has passed when ``start`` returns.
    """

    def __init__(self, session: _Session) -> None:
        self.session = session
        self.options = session.options
        self.looked_s = 0.0

    @property
    def target(self) -> Target:
        """As the engine that measures looks at it."""
        return self.session.target

    @property
    def engine(self) -> str:
        """That of what measures now."""
        return self.session.engine

    @property
    def strangers(self) -> list[int]:
        """Those of what measures now."""
        return self.session.strangers

    @property
    def missing(self) -> list[str]:
        """Those of what measures now."""
        return self.session.missing

    @property
    def remarks(self) -> list[str]:
        """Those of what measures now."""
        return self.session.remarks

    @property
    def hurries(self) -> bool:
        """That of what measures now."""
        return self.session.hurries

    def poll(self) -> str:
        """As ``Measurement`` says, and so are those below."""
        return self.session.poll()

    def allow(self, limit_pct: float) -> None:
        """As ``Measurement`` says, until another session measures, which asks the options again."""
        self.session.allow(limit_pct)

    def doubt(self) -> str:
        """As ``Measurement`` says."""
        return self.session.doubt()

    def end_slice(self) -> None:
        """As ``Measurement`` says."""
        self.session.end_slice()

    def interval(self) -> Recording:
        """As ``Measurement`` says."""
        return self.session.interval()

    def so_far(self) -> Recording:
        """As ``Measurement`` says."""
        return self.session.so_far()

    def totals(self) -> list[Totals]:
        """As ``Measurement`` says."""
        return self.session.totals()

    def stop(self) -> Recording:
        """As ``Measurement`` says."""
        return self.session.stop()

    def explain(self) -> Iterator[str]:
        """As ``Measurement`` says."""
        return self.session.explain()

    def close(self) -> None:
        """Take everything away."""
        self.session.close()
