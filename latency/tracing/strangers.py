"""Followed processes that replaced their program: a CPython of another build gets a session of its own.

Calls of a program of the *same* build are seen from the first on, by the probes that are there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from latency.cpython.interpreter import Target
from latency.errors import NoSuchProcess, PylatError, TargetGone
from latency.tracing.measurement import Measurement
from latency.tracing.probes.session import Session

# How long after an exec a process may take to load its interpreter; one that has none by then is another program.
_PATIENCE_S = 2.0


class Strangers:
    """Looks at processes in a thread of its own, so that the measuring loop goes on meanwhile.

    Attributes:
        others: PIDs that turned out to run something that cannot be measured.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.others: list[int] = []
        self._clock = clock
        self._pool = ThreadPoolExecutor(1)
        self._since: dict[int, tuple[float, Measurement]] = {}
        self._starting: dict[int, Future[Session]] = {}
        self._known: set[tuple[int, int, tuple[int, ...]]] = set()  # programs that were decided on

    def watch(self, session: Measurement) -> None:
        """Take over the strangers of a session."""
        while session.strangers:
            self._since[session.strangers.pop()] = (self._clock(), session)

    def started(self) -> list[Session]:
        """Sessions that have begun to measure since the last call."""
        found = []
        for pid, (since, session) in list(self._since.items()):
            try:
                target = Target(pid)
            except (NoSuchProcess, TargetGone):
                del self._since[pid]  # whatever it was: too short to be told
                continue
            except PylatError:
                if self._clock() - since > _PATIENCE_S:
                    del self._since[pid]
                    self._give_up(pid)
                continue
            del self._since[pid]
            # One may be told of twice: as a child that is there, and when it replaces its program.
            program = (pid, target.process.start_ticks, target.process.image_identity())
            if program in self._known:
                continue
            self._known.add(program)
            if target.build.device_inode != session.target.build.device_inode:
                self._starting[pid] = self._pool.submit(self._start, target, session)
        for pid, future in list(self._starting.items()):
            if future.done():
                del self._starting[pid]
                try:
                    found.append(future.result())
                except PylatError:
                    self._give_up(pid)
        return found

    def _give_up(self, pid: int) -> None:
        if pid not in self.others:
            self.others.append(pid)

    def close(self) -> list[Session]:
        """Wait for the sessions that are being started, and return them."""
        self._pool.shutdown()
        self._since.clear()
        return self.started()

    @staticmethod
    def _start(target: Target, like: Measurement) -> Session:
        session = Session(target, like.options, late=True)
        session.unseen.append(f"calls of process {target.process.pid} before it was found to run Python")
        try:
            session.start()
        except BaseException:
            session.close()
            raise
        return session
