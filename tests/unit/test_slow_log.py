"""Which slow calls are told: none of the calibration, whatever the threshold; and by which names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from latency.cpython.offsets import load
from latency.recording import Function, Options
from latency.tracing.counted import wire
from latency.tracing.counted.slow import SlowLog
from latency.tracing.probes.slow import Slow

NEVER = (1 << 64) - 1


def test_nothing_is_told_until_the_calibration_is_over(monkeypatch: Any) -> None:
    monkeypatch.setattr("latency.tracing.counted.slow.Reader", lambda *_, **__: None)
    records = [b"of the calibration"]
    ring = SimpleNamespace(read=lambda: iter([records.pop()] if records else []), close=lambda: None)
    config = np.zeros(1, wire.CONFIG)[0]
    maps = SimpleNamespace(config=config, slots=8, ring=lambda *_: ring, map=lambda *_: None)
    target: Any = SimpleNamespace(process=None, build=None, offsets=None)
    session: Any = SimpleNamespace(maps=maps, table=None, spaces=None)
    log = Slow(target, Options(slower="10us"))
    log.loaded(session)
    assert (int(config["slower_ns"]), int(config["floor_ns"])) == (10_000, NEVER)
    log.calibrated()
    assert int(config["floor_ns"]) == 0
    assert records == []
    log.end()
    assert int(config["floor_ns"]) == NEVER


def made(dtype: np.dtype[Any], **values: object) -> bytes:
    event = np.zeros(1, dtype)
    for name, value in values.items():
        event[name] = value
    return event.tobytes()


def code_told(name: str, *, whole: bool = True) -> bytes:
    text = np.frombuffer(name.encode().ljust(wire.NAME_BYTES, b"\0"), "u1")
    record = made(wire.SLOW_CODE_EVENT, kind=wire.SLOW_CODE, code=0x1000, qualname=text, qualname_bytes=len(name))
    return record if whole else record[: -wire.LINES_BYTES]


def call_told(number: int) -> bytes:
    event = np.zeros(1, wire.SLOW_CALL_EVENT)
    event["kind"], event["latency_ns"], event["active_ns"] = wire.SLOW_CALL, number, NEVER
    event["depth"], event["stack_end"] = 1, wire.STACK_WHOLE
    event["stack"]["code"][0, 0] = 0x1000
    return event.tobytes() + bytes(wire.SNAPSHOT_HEAD_BYTES)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "without lines"])
def test_callers_are_those_that_were_told_last_before_the_call(monkeypatch: Any, whole: bool) -> None:
    monkeypatch.setattr("latency.tracing.counted.slow.Reader", lambda *_, **__: None)
    monkeypatch.setattr(
        "latency.tracing.counted.slow.from_capture", lambda name, *_: Function(name.decode(), "/a.py", 1)
    )
    one, other = code_told("one", whole=whole), code_told("other", whole=whole)
    records = [one, call_told(1), one, call_told(2), other, call_told(3), one, call_told(4)]
    ring = SimpleNamespace(read=lambda: iter(records), close=lambda: None)
    maps: Any = SimpleNamespace(
        config=np.zeros(1, wire.CONFIG)[0], slots=1, ring=lambda *_: ring, statistics=np.zeros(1, wire.STATISTICS)
    )
    function = Function("f", "/a.py", 1)
    whose: Any = SimpleNamespace(owner=lambda *_: (function, True), known_code=lambda *_: None)
    target: Any = SimpleNamespace(process=None, build=None, offsets=load((3, 9)))
    log = SlowLog(target, Options(slower="1ns"))
    log.open(maps, whose)
    log.before_events()
    log.after_events()
    callers = {call.duration_ns: call.stack[0].function.qualname for call in log.noticed()}
    assert callers == {1: "one", 2: "one", 3: "other", 4: "one"}
    assert all(call.arguments is None and call.active_ns is None for call in log.noticed())
