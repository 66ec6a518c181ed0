"""When the comparison of watchpoints with probes begins: both engines are made up here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from latency.recording import Function
from latency.tracing import proving
from latency.tracing.counted.agreement import OpenFrame, Seen
from latency.tracing.kernel import clock
from latency.tracing.proving import ENOUGH_CALLS, Verdict, proven

WORK = Function("work", "app.py", 1, "function")


def test_a_call_that_had_come_past_the_watchpoint_before_it_was_there_is_none_that_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its thread waited for a processor on the way to the probe, which sees it begin."""
    opens: set[OpenFrame] = set()
    ended = {"probes": 0, "watch": 0}

    def gone_on(threads: object, **_: object) -> None:
        assert list(threads) == [(process, 7)]  # type: ignore[call-overload]
        opens.add(OpenFrame(4096, clock.now_ns()))

    def pause(_: float) -> None:
        """The call ends, and others are made."""
        if opens:
            opens.clear()
            ended["probes"] += 1
            return
        for engine in ended:
            ended[engine] += ENOUGH_CALLS

    def seen_by(engine: str) -> Seen:
        return Seen({WORK: (ended[engine], 0, 0)}, frozenset(opens if engine == "probes" else ()))

    process = SimpleNamespace(threads=lambda: [7], check=lambda: None)
    target: Any = SimpleNamespace(process=process)
    probes: Any = SimpleNamespace(target=target, take_events=lambda: None)
    watching: Any = SimpleNamespace(
        target=target,
        start=lambda: None,
        turns=SimpleNamespace(groups=[[0]], whole={WORK}),
        program=SimpleNamespace(followed=lambda process: [process]),
        seen=lambda: seen_by("watch"),
    )
    monkeypatch.setattr(proving, "_seen_by", lambda *_: seen_by("probes"))
    monkeypatch.setattr(proving, "wait_until_gone_on", gone_on)
    assert proven(probes, watching, sleep=pause) == Verdict(ENOUGH_CALLS)
