"""``--engine watch``: a ``WatchSession`` that is compared with the build's own engine before it is trusted."""

from __future__ import annotations

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from latency.cpython.interpreter import Stopwatch, Target
from latency.errors import AttachError, PylatError
from latency.recording import Options
from latency.tracing.passing import Passing
from latency.tracing.probes.session import Session
from latency.tracing.proving import proven
from latency.tracing.watch.session import WatchSession


class Watched(Passing[WatchSession]):
    """A ``Measurement``. What the comparison showed is the target's ``choice``.

    Args:
        attachment: of the probes, as ``Session`` takes it.

    Raises:
        As ``WatchSession``.
    """

    def __init__(self, target: Target, options: Options, *, attachment: str = "auto") -> None:
        with ThreadPoolExecutor(1) as pool:
            self._probes: Future[Session] = pool.submit(_probing, target, options, attachment)
            try:
                super().__init__(WatchSession(target, options))
            except BaseException:
                self._probes.add_done_callback(_close)
                raise

    def start(self) -> None:
        """Compare, and begin.

        Raises:
            AttachError: watchpoints and probes do not see the same; or as ``WatchSession.start``.
        """
        watching = self.session
        try:
            probes = self._probes.result()
            probes.start()
        except PylatError as error:
            self._probes.add_done_callback(_close)
            watching.start()
            watching.target.choice = f"watch: not proven: {error}"
            return
        try:
            with watching.target.stopwatch.step("prove"):
                verdict = proven(probes, watching)
        finally:
            probes.close()
        if verdict.difference:
            raise AttachError(
                f"{probes.engine} and watch do not see the same calls: watch {verdict.difference}",
                f"take --engine {probes.engine}",
            )
        watching.restart()
        if verdict.why_not:
            watching.target.choice = f"watch: not proven: {verdict.why_not}"
        else:
            watching.target.choice = f"watch: {probes.engine} saw the same {verdict.calls:,} calls"

    def close(self) -> None:
        """Take everything away."""
        self._probes.add_done_callback(_close)
        super().close()


def _probing(target: Target, options: Options, attachment: str) -> Session:
    """What is to look beside the watchpoints. Raises what ``Session`` does, and UnsupportedBuild."""
    target = copy.copy(target)
    target.stopwatch = Stopwatch()
    target.plan = target.probes_plan()
    options = replace(options, engine="auto", max_overhead_pct=None, slower="")
    return Session(target, options, attachment=attachment)


def _close(probing: Future[Session]) -> None:
    if not probing.exception():
        probing.result().close()
