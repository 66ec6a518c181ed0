"""Children that run Python and are not measured, since nobody asked for ``--children``: they may be the ones that call
a function that is never called in what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from latency.cpython.interpreter import Target
from latency.errors import PylatError
from latency.target.process import Process

_EACH_S = 0.1
_COST = 20  # a look may take this part of the time at most, of a CPU: one that waits for a CPU itself costs nobody more
_PYTHON = ("python", "libpython")


class Bystanders:
    """Looks at the descendants of processes now and then; who comes and goes between two looks is not seen.

    Args:
        roots: whose descendants.
        targets: what is measured.

    Attributes:
        pythons: the names of those that run Python, by PID, also of those that have ended.
    """

    def __init__(
        self, roots: Iterable[Process], targets: Iterable[Target], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.pythons: dict[int, str] = {}
        self._clock = clock
        self._roots = list(roots)
        self._measured = {it.process.pid for it in targets}
        self._files = {it.build.device_inode for it in targets}
        self._judged: dict[int, tuple[int, ...]] = {}
        self._next_s = 0.0

    def look(self) -> None:
        """Look, if it is time to."""
        begin_s, used_s = self._clock(), time.thread_time()
        if begin_s < self._next_s:
            return
        for root in list(self._roots):
            try:
                pids = root.children(recursive=True)
            except PylatError:  # a kernel that does not list them
                self._roots.remove(root)
                continue
            for pid in pids:
                if pid not in self._measured:
                    self._judge(pid)
        self._next_s = begin_s + max(_EACH_S, _COST * (time.thread_time() - used_s))

    def _judge(self, pid: int) -> None:
        """Once for each program that it runs: a child is a copy of its parent before it replaces that."""
        try:
            process = Process(pid)
            image = process.image_identity()
            if self._judged.get(pid) == image:
                return
            name, python = process.comm, self._is_python(process)
        except PylatError:
            return
        self._judged[pid] = image
        self.pythons.pop(pid, None)
        if python:
            self.pythons[pid] = name

    def _is_python(self, process: Process) -> bool:
        code = [it for it in process.maps() if it.executable and it.inode]
        return any(it.device_inode in self._files or it.path.rpartition("/")[2].startswith(_PYTHON) for it in code)
