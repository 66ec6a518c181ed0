"""Calls that have not ended, from made-up tables: how old they are without what the probes took."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from latency.tracing.counted import wire
from latency.tracing.counted.opencalls import OpenCall, by_slot, open_calls, stale_calls

TID, OTHER_TID, FRAME, SLOT = 77, 78, 0x7F00_1000, 3
WANTED, RESUMED = wire.WANTED, wire.WANTED | wire.SUSPENDS | wire.RESUMED


def thread(*calls: tuple[int, int, int, int]) -> np.ndarray:
    """Of (frame, start, account behind its entry, flags)."""
    one = np.zeros(1, wire.THREAD)
    one["depth"] = len(calls)
    for open_, (frame, start_ns, account_ns, flags) in zip(one["open"][0], calls, strict=False):
        open_["frame"], open_["start_ns"], open_["taken_ns"], open_["flags"] = frame, start_ns, account_ns, flags
        open_["slot"] = SLOT
    return one


def kept(**members: int) -> np.ndarray:
    one = np.zeros(1, wire.SUSPENDED)
    one["slot"] = SLOT
    for name, value in members.items():
        one[name] = value
    return one


def starts_ns(threads: dict[int, np.ndarray], suspended: dict[int, np.ndarray], accounts: dict[int, int]) -> list[int]:
    def key(frame: int) -> np.ndarray:
        return np.array([(frame, 0)], wire.FRAME_KEY)

    maps: Any = SimpleNamespace(
        threads=SimpleNamespace(items=lambda: [(np.array([tid], "<u4"), value) for tid, value in threads.items()]),
        suspended=SimpleNamespace(items=lambda: [(key(frame), value) for frame, value in suspended.items()]),
        account_ns=accounts.__getitem__,
    )
    opens = by_slot(open_calls(maps), maps)
    return sorted(opens[SLOT].starts_ns) if opens else []


def test_an_open_call_is_as_old_as_it_were_without_what_was_taken_of_its_thread_since() -> None:
    threads = {TID: thread((FRAME, 1000, 50, WANTED), (FRAME + 64, 1400, 250, WANTED)), OTHER_TID: thread((1, 7, 0, 1))}
    assert starts_ns(threads, {}, {TID: 350, OTHER_TID: 0}) == [7, 1000 + 300, 1400 + 100]


def test_one_that_goes_on_began_when_it_was_started_first() -> None:
    threads = {TID: thread((FRAME, 5000, 200, RESUMED))}
    suspended = {FRAME: kept(start_ns=1000, taken_ns=30, beside_ns=4, running=1)}
    assert starts_ns(threads, suspended, {TID: 201}) == [1000 + 30 + 4 + 1]


def test_of_one_that_is_suspended_that_is_taken_off_which_is_known() -> None:
    suspended = {FRAME: kept(start_ns=1000, taken_ns=30, beside_ns=4, unsure_ns=500)}
    assert starts_ns({}, suspended, {}) == [1034]


def test_an_account_that_another_thread_has_begun_anew_takes_nothing_back() -> None:
    assert starts_ns({TID: thread((FRAME, 1000, 50, WANTED))}, {}, {TID: 0}) == [1000]


class Ending:
    """A process with one thread that waits for a processor, which has an open call whose frame is another's by now."""

    def __init__(self, tmp_path: Path, *, state: str = "R") -> None:
        self.threads = {TID: thread((FRAME, 1000, 0, WANTED))}
        self.proc, self.pid = tmp_path, 41
        self._task = tmp_path / "41" / "task" / str(TID)
        self._task.mkdir(parents=True)
        self.is_seen(state, ran_ns=5000)
        self.waits: list[float] = []

    def is_seen(self, state: str, ran_ns: int) -> None:
        (self._task / "stat").write_text(f"{TID} (a) name) {state} 1 2")
        (self._task / "schedstat").write_text(f"{ran_ns} 5 6\n")

    def read_many(self, addresses: list[int], size: int) -> list[bytes]:
        return [(0x9999).to_bytes(size, "little") for _ in addresses]

    def stale(self, then: Callable[[Ending], None]) -> set[OpenCall]:
        """``then``: what happens while the thread is waited for."""

        def sleep(seconds: float) -> None:
            self.waits.append(seconds)
            then(self)

        statistics = np.zeros(SLOT + 1, wire.STATISTICS)
        statistics["code"][SLOT] = 0x1234
        maps: Any = SimpleNamespace(
            threads=SimpleNamespace(items=lambda: [(np.array([tid], "<u4"), it) for tid, it in self.threads.items()]),
            suspended=SimpleNamespace(items=list),
            statistics=statistics,
        )
        spaces: Any = {0: SimpleNamespace(readable=self)}
        offsets: Any = type("Offsets", (dict,), {"stackref_mask": -1})({"frame.code": 8})
        return stale_calls(maps, spaces, offsets, sleep=sleep)


def test_a_call_whose_thread_waits_between_its_end_and_the_probe_that_tells_of_it_is_not_stale(tmp_path: Path) -> None:
    assert Ending(tmp_path).stale(lambda it: it.threads.clear()) == set()


def test_one_that_is_there_still_when_its_thread_has_run_is_stale(tmp_path: Path) -> None:
    ending = Ending(tmp_path)
    found = ending.stale(lambda it: it.is_seen("R", ran_ns=5001))
    assert [call.frame for call in found] == [FRAME]
    assert len(ending.waits) == 1


def test_one_whose_thread_sleeps_is_stale_at_once(tmp_path: Path) -> None:
    ending = Ending(tmp_path, state="S")
    assert len(ending.stale(lambda it: None)) == 1
    assert ending.waits == []


def test_a_thread_that_never_runs_again_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    ending = Ending(tmp_path)
    assert len(ending.stale(lambda it: None)) == 1
    assert sum(ending.waits) <= 1.1
