"""The moment at which watchpoints go on from probes: what is looked at is made up."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from latency.recording import Function
from latency.tracing import handover
from latency.tracing.counted.reading import Counted, Reading

WORK = Function("work", "app.py", 1)


def look(returned: int, entries: int | None = None) -> handover._Moment:
    counted = Counted(returned=returned)
    reading = Reading(0, {WORK: counted}, 0, {}, {"entries": returned if entries is None else entries})
    return handover._Moment(reading, set(), reading, set())


def moment(
    monkeypatch: pytest.MonkeyPatch, looks: list[handover._Moment], *, waits: Callable[[], None] = lambda: None
) -> handover._Moment | None:
    """Of a process with two threads."""
    given = list(looks)
    monkeypatch.setattr(handover, "_look", lambda *_: given.pop(0))

    def wait(threads: Any) -> None:
        assert [tid for _, tid in threads] == [7, 8]
        assert len(given) == 1  # after the first look, and before the second
        waits()

    monkeypatch.setattr(handover, "wait_until_gone_on", wait)
    probes: Any = SimpleNamespace(target=SimpleNamespace(process=SimpleNamespace(threads=lambda: [7, 8])))
    handing: Any = None
    return handover._moment(probes, handing)


def test_nothing_has_happened_while_each_thread_went_on_or_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[None] = []
    assert moment(monkeypatch, [look(3), look(3)], waits=lambda: waited.append(None)) == look(3)
    assert waited == [None]


@pytest.mark.parametrize("after", [look(4), look(3, entries=4)], ids=["a call has ended", "one has begun"])
def test_a_call_meanwhile_makes_it_no_moment(monkeypatch: pytest.MonkeyPatch, after: handover._Moment) -> None:
    assert moment(monkeypatch, [look(3), after]) is None
