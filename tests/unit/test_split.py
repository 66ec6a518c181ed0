"""``Split``: sums that stay exact whatever is done with them, and their way through a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording import (
    PARTS,
    Function,
    FunctionLatency,
    Recording,
    Split,
    TargetInfo,
    combined,
    dumps,
    loads,
    to_json,
)

TARGET = TargetInfo((4242,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)
SERVE = Function("serve", "/srv/app.py", 10)


def split(columns: dict[int, tuple[int, int, int, int, int]], *, calls: int = 3, **changes: Any) -> Split:
    """From the parts of each bucket."""
    first, last = min(columns), max(columns)
    sums = np.zeros((len(PARTS), last - first + 1), np.int64)
    for bucket, parts in columns.items():
        sums[:, bucket - first] = parts
    return Split(calls, changes.pop("scale", 2), first, sums, **changes)


ONE = split({-30: (1, 2, 3, 4, 5), -28: (10, 0, 0, 0, 0)})
OTHER = split({-31: (0, 7, 0, 0, 0), -30: (1, 1, 1, 1, 1)}, calls=2)


def test_the_parts_add_up_to_the_wall_time() -> None:
    assert ONE.totals_ns == {"running": 11, "waiting": 2, "runnable": 3, "gc": 4, "suspended": 5}
    assert ONE.wall_ns == 25


def test_sums_of_two_processes_are_added_bucket_by_bucket() -> None:
    expected = split({-31: (0, 7, 0, 0, 0), -30: (2, 3, 4, 5, 6), -28: (10, 0, 0, 0, 0)}, calls=5)
    assert ONE + OTHER == OTHER + ONE == expected


def test_a_sum_with_nothing_is_the_same() -> None:
    nothing = Split(0, 2, 0, np.zeros((len(PARTS), 0), np.int64))
    assert ONE + nothing == nothing + ONE == ONE


def test_what_came_since_is_what_was_added() -> None:
    assert (ONE + OTHER).since(ONE) == OTHER


def test_a_coarser_grid_holds_the_same_sums() -> None:
    coarse = ONE.downscale(0)
    assert coarse.totals_ns == ONE.totals_ns
    assert (coarse.offset, coarse.parts_ns.shape[1]) == (-7, 1)
    assert ONE + replace(coarse, calls=0) == split({-7: tuple(2 * it for it in ONE.totals_ns.values())}, scale=0)  # type: ignore[arg-type]


def test_what_one_of_two_builds_does_not_tell_apart_neither_does_their_sum() -> None:
    blind = split({-30: (5, 0, 0, 0, 0)}, calls=1, gc_known=False)
    both = ONE + blind
    assert not both.gc_known
    assert both.totals_ns == {"running": 20, "waiting": 2, "runnable": 3, "gc": 0, "suspended": 5}


def test_the_calls_around_a_quantile_are_those_of_its_bucket() -> None:
    wall = Histogram.from_values([1_000] * 98 + [30_000_000] * 2)
    made = split({-79: (98_000, 0, 0, 0, 0), -20: (3_000_000, 54_000_000, 3_000_000, 0, 0)}, calls=100)
    assert made.shares_at(0.5, wall) == {"running": 1, "waiting": 0, "runnable": 0, "gc": 0, "suspended": 0}
    assert made.shares_at(0.99, wall) == {"running": 0.05, "waiting": 0.9, "runnable": 0.05, "gc": 0, "suspended": 0}


def test_where_the_calls_around_a_quantile_have_no_parts_there_are_no_shares() -> None:
    wall = Histogram.from_values([1_000] * 98 + [30_000_000] * 2)
    made = split({-79: (98_000, 0, 0, 0, 0)}, calls=98)
    assert made.shares_at(0.99, wall) is None
    assert made.shares_at(0.5, Histogram.empty()) is None
    assert made.shares_at(0.5, wall.log2()) is None


# -- in a recording ------------------------------------------------------------------------------


def recording(**changes: Any) -> Recording:
    wall = Histogram.from_values([1_000] * 3)
    latency = FunctionLatency(SERVE, 3, 0, wall, split=ONE, self_time=Histogram.from_values([10, 20]))
    return Recording(target=TARGET, duration_s=1.0, functions=(replace(latency, **changes),))


@pytest.mark.parametrize("made", [ONE, replace(ONE, calls=0).without_gc(), None], ids=["gc told", "not told", "none"])
def test_a_split_comes_back_from_a_file_as_it_was(made: Split | None) -> None:
    run = recording(split=made)
    assert loads(dumps([run])) == [run]


def test_gc_that_is_not_told_apart_is_null() -> None:
    (function,) = to_json(recording(split=ONE.without_gc()))["functions"]
    assert function["split"]["gc"] is None
    assert function["split"]["running"]["sum_ns"] == 15


def test_a_recording_without_it_has_no_such_keys() -> None:
    (function,) = to_json(recording(split=None, self_time=None))["functions"]
    assert not {"split", "self"} & function.keys()


def test_recordings_of_several_processes_are_divided_together() -> None:
    (both,) = combined([recording(), recording(split=OTHER)]).functions
    assert both.split == ONE + OTHER
    assert both.self_time is not None
    assert both.self_time.sum_ns == 60
    (one,) = combined([recording(), recording(split=None, self_time=None)]).functions
    assert (one.split, one.self_time) == (ONE, recording().functions[0].self_time)


def edited(edit: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(dumps([recording()]))
    edit(document["runs"][0]["functions"][0])
    return json.dumps(document)


def of_split(**keys: object) -> str:
    return edited(lambda function: function["split"].update(keys))


BROKEN = {
    "a split that is a list": (edited(lambda function: function.update(split=[])), r"split: not an object"),
    "without a part": (edited(lambda function: function["split"].pop("waiting")), r"split\.waiting: missing"),
    "without gc": (edited(lambda function: function["split"].pop("gc")), r"split\.gc: missing"),
    "a sum that is not the sum": (of_split(waiting={"sum_ns": 9, "sums_ns": [2, 0, 0]}), r"split\.waiting\.sum_ns"),
    "parts of different length": (of_split(waiting={"sum_ns": 2, "sums_ns": [2]}), r"split\.sums_ns"),
    "a negative time": (of_split(waiting={"sum_ns": 2, "sums_ns": [3, -1, 0]}), r"split\.waiting\.counts"),
    "a part that is null": (of_split(running=None), r"split\.running: not an object"),
    "too much in all": (
        of_split(**{part: {"sum_ns": 2**62, "sums_ns": [2**62, 0, 0]} for part in ("running", "waiting")}),
        r"split\.sums_ns",
    ),
    "a scale too fine": (of_split(scale=9), r"split\.scale"),
    "a huge bucket index": (of_split(offset=10**9), r"split\.\w+\.offset"),
    "no bucket index": (of_split(offset=None), r"split\.\w+\.offset"),
    "another unit": (of_split(unit="ms"), r"split\.unit"),
    "a negative number of calls": (of_split(calls=-1), r"split\.calls"),
    "too many buckets": (of_split(running={"sum_ns": 0, "sums_ns": [0] * 4097}), r"split\.running\.counts"),
    "a self time that is a number": (edited(lambda function: function.update(self=3)), "self: not an object"),
    "a self time of too many": (edited(lambda function: function["self"].update(count=9)), r"self\.count"),
}


@pytest.mark.parametrize(("text", "match"), BROKEN.values(), ids=BROKEN)
def test_a_broken_split_is_one_clear_line(text: str, match: str) -> None:
    with pytest.raises(RecordingError, match=match) as caught:
        loads(text)
    assert "\n" not in str(caught.value)
