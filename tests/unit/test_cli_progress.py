"""Who waits at a terminal is told for what; nobody else is."""

from __future__ import annotations

import io
import sys
import threading
from contextlib import suppress

import pytest

from latency.cli.terminal import progress
from latency.cpython.interpreter import Stopwatch


class Terminal(io.StringIO):
    """Knows when something was written."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal
        self.written = threading.Event()

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_what_takes_long_is_told_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, stopwatch = Terminal(is_terminal=True), Stopwatch()
    monkeypatch.setattr(sys, "stderr", terminal)
    with stopwatch.step("find functions"), progress([stopwatch], after_s=0):
        assert terminal.written.wait(60)
    shown = terminal.getvalue()
    assert "find functions … 0 s" in shown
    assert shown.endswith("\r\x1b[K")


def test_what_is_done_soon_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress([Stopwatch()], after_s=3600):
        pass
    assert terminal.getvalue() == ""


def test_a_log_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Terminal(is_terminal=False)
    monkeypatch.setattr(sys, "stderr", log)
    with progress([Stopwatch()], after_s=0):
        pass
    assert log.getvalue() == ""


def test_a_step_that_fails_is_over() -> None:
    stopwatch = Stopwatch()
    with suppress(ValueError), stopwatch.step("find functions"):
        assert stopwatch.under_way == ["find functions"]
        raise ValueError
    assert stopwatch.under_way == []
