"""Followed processes that have ended: their numbers are kept, and their places in the tables given back."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from latency.errors import TargetError
from latency.recording import ProcessCalls
from latency.target.process import Process
from latency.tracing.watch.program import WatchProgram
from latency.tracing.watch.wire import EXECUTED


class Gone:
    """Of one measurement with children.

    Attributes:
        calls: what each has done.
        executed: how many of them had replaced their program before.
    """

    def __init__(self, program: WatchProgram) -> None:
        self.calls: list[ProcessCalls] = []
        self.executed = 0
        self._program = program

    def look(self) -> None:
        """Give back what there is to be given back. The program has marked those whose first thread ended."""
        keys, values = self._program.processes.everything()
        marked = [at for at in np.flatnonzero(values["ended"]).tolist() if not _is_there(int(keys[at]))]
        if not marked:
            return
        self.calls += [
            ProcessCalls(int(keys[at]), int(values["returned"][at]), int(values["raised"][at]), ended=True)
            for at in marked
        ]
        self.executed += int((values["ended"][marked] == EXECUTED).sum())
        frames, calls = self._program.frames.everything()
        left = np.isin(frames["process"], keys[marked])
        # What suspends belongs to no thread, and was not counted when one ended.
        np.add.at(self._program.maps.statistics["cut"], calls["slot"][left & (calls["tid"] == 0)], 1)
        self._program.drop(frames[left])
        self._program.processes.delete_many(keys[marked])


def _is_there(pid: int) -> bool:
    with suppress(TargetError):
        Process(pid)
        return True
    return False
