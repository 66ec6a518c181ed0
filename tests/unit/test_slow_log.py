"""Which slow calls are told: none of the calibration, whatever the threshold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from latency.recording import Options
from latency.tracing.counted import wire
from latency.tracing.probes.slow import SlowLog

NEVER = (1 << 64) - 1


def test_nothing_is_told_until_the_calibration_is_over(monkeypatch: Any) -> None:
    monkeypatch.setattr("latency.tracing.probes.slow.Reader", lambda *_, **__: None)
    records = [b"of the calibration"]
    ring = SimpleNamespace(read=lambda: iter([records.pop()] if records else []), close=lambda: None)
    config = np.zeros(1, wire.CONFIG)[0]
    maps = SimpleNamespace(config=config, slots=8, ring=lambda *_: ring, map=lambda *_: None)
    target: Any = SimpleNamespace(process=None, build=None, offsets=None)
    session: Any = SimpleNamespace(maps=maps, table=None, spaces=None)
    log = SlowLog(target, Options(slower="10us"))
    log.loaded(session)
    assert (int(config["slower_ns"]), int(config["floor_ns"])) == (10_000, NEVER)
    log.calibrated()
    assert int(config["floor_ns"]) == 0
    assert records == []
    log.end()
    assert int(config["floor_ns"]) == NEVER
