"""Watchpoints are placed anew where a task began before they were whole: the kernel is made up here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latency.target.scheduling import newest_task
from latency.tracing.watch import events
from latency.tracing.watch.events import READ_WRITE, Watchpoint, Watchpoints

POINTS = [Watchpoint(4096, 1, READ_WRITE)]


class Kernel:
    """Events that were opened, enabled and ended, by their numbers. ``begins``: whether a task does, at each opening
    and enabling."""

    def __init__(self, begins: Callable[[str, int], bool]) -> None:
        self.begins = begins
        self.opened = self.newest = 0
        self.enabled: list[int] = []
        self.ended: list[int] = []

    def idle_watchpoint(self, *_: object, inherited: bool = True, forks: bool = False) -> int:
        if not inherited:  # to see whether a register is free
            return 0
        self.opened += 1
        self.newest += self.begins("opened", self.opened)
        return self.opened

    def enable_watchpoint(self, event: int) -> None:
        if event:
            self.newest += self.begins("enabled", event)
            self.enabled.append(event)

    def end_event(self, event: int) -> int:
        if event:
            self.ended.append(event)
        return event

    def place(self, monkeypatch: pytest.MonkeyPatch) -> Watchpoints:
        monkeypatch.setattr(events, "kernel", self)
        monkeypatch.setattr(events, "newest_task", lambda: self.newest)
        watchpoints = Watchpoints(0)
        watchpoints.place(POINTS, lambda: [7])
        return watchpoints


def test_where_no_task_begins_an_event_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(lambda *_: False)
    assert len(kernel.place(monkeypatch)) == 1
    assert (kernel.enabled, kernel.ended) == ([1], [])


def test_what_a_task_may_have_inherited_without_a_program_never_sees_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(lambda what, event: (what, event) == ("opened", 1))
    kernel.place(monkeypatch)
    assert (kernel.enabled, kernel.ended) == ([2], [1])


def test_what_a_task_may_have_inherited_before_it_was_enabled_is_taken_away_with_its_hits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel(lambda what, event: (what, event) == ("enabled", 1))
    assert kernel.place(monkeypatch).hits == 1
    assert (kernel.enabled, kernel.ended) == ([1, 2], [1])


def test_where_tasks_begin_all_the_time_the_last_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(lambda *_: True)
    assert len(kernel.place(monkeypatch)) == 1
    assert kernel.enabled == [kernel.opened]
    assert kernel.ended == list(range(1, kernel.opened))


def test_the_newest_task_is_known_where_the_kernel_tells_it(tmp_path: Path) -> None:
    assert newest_task() > 0
    assert newest_task(tmp_path) == 0
    (tmp_path / "loadavg").write_text("0.00 0.01 0.05 1/80 4711\n")
    assert newest_task(tmp_path) == 4711
