"""Which slots of the statistics are in use, without a look at those that never were."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from latency.tracing.counted import wire
from latency.tracing.counted.maps import CountingMaps

SLOTS = 8192


@pytest.fixture
def maps() -> Iterator[tuple[CountingMaps, int]]:
    """Maps of ordinary memory; and the descriptor of that of the statistics."""
    config, statistics = (os.memfd_create(name) for name in ("config", "statistics"))
    os.truncate(config, 1 << 16)
    os.truncate(statistics, -(-wire.STATISTICS.itemsize * SLOTS // 4096) * 4096)
    yield CountingMaps({"config": config, "statistics": statistics, "counters": -1}, wire.CONFIG, SLOTS), statistics
    os.close(config)
    os.close(statistics)


def test_slots_in_use_are_found_however_many_they_become(maps: tuple[CountingMaps, int]) -> None:
    found, _ = maps
    codes = found.statistics["code"]
    assert found.used_slots().tolist() == []
    for count in (1, 256, 257, 1000, SLOTS):
        codes[:count] = 1
        assert found.used_slots().tolist() == list(range(count))


def test_slots_are_found_behind_others_that_were_given_back(maps: tuple[CountingMaps, int]) -> None:
    found, _ = maps
    codes = found.statistics["code"]
    codes[:1000] = 1
    assert len(found.used_slots()) == 1000
    codes[:999] = 0
    assert found.used_slots().tolist() == [999]
    codes[7] = 1
    assert found.used_slots().tolist() == [7, 999]


def test_memory_of_slots_that_never_were_in_use_is_not_touched(maps: tuple[CountingMaps, int]) -> None:
    found, fd = maps
    found.statistics["code"][:20] = 1
    for _ in range(3):
        assert len(found.used_slots()) == 20
    assert os.fstat(fd).st_blocks * 512 < 3 << 20  # of 38 MB


def test_the_beginnings_of_records_are_copies_of_theirs(maps: tuple[CountingMaps, int]) -> None:
    found, _ = maps
    names = list(wire.HEAD.names or ())
    for number, name in enumerate(names):
        found.statistics[name] = np.arange(SLOTS) + 1000 * number
    found.statistics["counts"] = 7
    slots = np.array([0, 5, SLOTS - 1])
    heads = found.heads(slots)
    assert heads.itemsize == wire.STATISTICS.fields["counts"][1]  # type: ignore[index]
    for name in names:
        assert heads[name].tolist() == found.statistics[name][slots].tolist()
    found.statistics["sum_ns"] = 1
    assert 1 not in heads["sum_ns"].tolist()
