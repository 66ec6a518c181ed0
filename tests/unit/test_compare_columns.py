"""Columns say what the recording says, whichever way they were read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording import FunctionLatency, Recording, dump, dumps, load
from latency.recording.columns import Columns, Tabulator
from latency.recording.fast import load_columns, load_two
from tests.unit.comparing import function, run, runs
from tests.unit.test_recording import BROKEN

QS = (0.0, 0.5, 0.9, 0.999, 1.0)
values = st.lists(st.integers(0, 2**42), max_size=20)


def columns(recording: Recording) -> Columns:
    return Tabulator().columns(recording)


def of(*histograms: Histogram) -> Recording:
    return run(FunctionLatency(function(f"f{index}"), wall.count, 0, wall) for index, wall in enumerate(histograms))


def same(one: list[Columns], other: list[Columns]) -> bool:
    arrays = ("which", "calls", "sum_ns", "min_ns", "max_ns", "ends", "buckets", "counts")
    return len(one) == len(other) and all(
        (a.run, a.table, a.scale) == (b.run, b.table, b.scale)
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        for a, b in zip(one, other, strict=True)
    )


@given(st.lists(values, max_size=5), st.integers(0, 4))
def test_each_row_is_its_histogram(calls_ns: list[list[int]], scale: int) -> None:
    histograms = [Histogram.from_values(each) for each in calls_ns]
    found = columns(of(*histograms)).downscale(scale) if histograms else columns(of())
    coarse = [each.downscale(scale) for each in histograms]
    assert [found.histogram(row) for row in range(len(coarse))] == coarse
    np.testing.assert_allclose(found.quantiles(QS)[0], np.array([each.quantiles(QS) for each in coarse]).reshape(-1, 5))
    np.testing.assert_allclose(found.mean_ns, [each.mean_ns for each in coarse])


@given(st.lists(st.tuples(values, st.integers(0, 4)), min_size=1, max_size=5))
def test_one_function_of_many_histograms_is_their_sum(parts: list[tuple[list[int], int]]) -> None:
    histograms = [Histogram.from_values(each).downscale(scale) for each, scale in parts]
    found = columns(run(FunctionLatency(function("f"), wall.count, 0, wall) for wall in histograms))
    assert found.histogram(0) == histograms[0].merge(*histograms[1:])


def test_a_run_of_two_grids_is_as_coarse_as_the_coarser() -> None:
    fine = Histogram.from_values([10**6, 10**7])
    found = columns(of(fine, fine.downscale(1)))
    assert found.scale == 1
    assert found.histogram(0) == found.histogram(1) == fine.downscale(1)


def test_the_share_of_calls_in_the_bucket_of_a_quantile() -> None:
    found = columns(of(Histogram.from_values([10**6] * 3 + [10**9])))
    assert found.quantiles([0.5, 1.0])[1].tolist() == [[0.75, 0.25]]


def test_more_calls_than_can_be_added_up_are_refused() -> None:
    huge = Histogram(4, 0, np.array([1 << 61]), 1, 1, 1)
    with pytest.raises(RecordingError, match="more calls"):
        columns(of(huge, huge))


def written(text: str, folder: Path) -> Path:
    path = folder / "r.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize("fast", [True, False])
def test_a_file_is_read_into_what_its_recordings_say(fast: bool, tmp_path: Path) -> None:
    base = runs({"f": 1e6, "g": 1e3, "\udcff": 5.0, "<lambda>": 1e9}, 3)
    dump(base, tmp_path / "r.json")
    tabulator = Tabulator()
    assert same(load_columns(tmp_path / "r.json", fast=fast), [tabulator.columns(each) for each in base])
    assert load_columns(tmp_path / "r.json", fast=fast)[0].run == replace(base[0], functions=())


@pytest.mark.parametrize("indent", [None, 1])
def test_both_ways_of_reading_are_one(indent: int | None, tmp_path: Path) -> None:
    text = dumps(runs({"f": 1e6, "g": 1e3}, 3))
    path = written(json.dumps(json.loads(text), indent=indent), tmp_path)
    assert same(load_columns(path, fast=True), load_columns(path, fast=False))


def test_two_files_are_read_at_once_if_they_are_large(tmp_path: Path) -> None:
    paths = tmp_path / "base.json", tmp_path / "head.json"
    for path, medians_ns in zip(paths, ({"f": 1e6}, {"g": 1e6}), strict=True):
        dump(runs(medians_ns, 3), path)
    in_turn = load_two(*paths)
    at_once = load_two(*paths, large_bytes=0)
    assert all(same(one, other) for one, other in zip(in_turn, at_once, strict=True))


def test_what_is_wrong_with_the_second_of_two_large_files_is_told(tmp_path: Path) -> None:
    dump(runs({"f": 1e6}, 3), tmp_path / "base.json")
    head = written("[]", tmp_path)
    with pytest.raises(RecordingError, match="is no pylat recording") as caught:
        load_two(tmp_path / "base.json", head, large_bytes=0)
    assert caught.value.hint


def read(path: Path, *, fast: bool) -> list[Columns] | str:
    """The columns, or why not."""
    try:
        return load_columns(path, fast=fast)
    except RecordingError as error:
        return str(error)


@pytest.mark.parametrize(("text", "match"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_as_load_refuses_it(text: str, match: str, tmp_path: Path) -> None:
    path = written(text, tmp_path)
    with pytest.raises(RecordingError, match=match) as caught:
        load(path)
    assert read(path, fast=False) == str(caught.value)
    # Slices are not read, so not looked at either.
    assert read(path, fast=True) == str(caught.value) or match == "slices"


@given(st.data())
def test_no_edit_of_a_file_is_read_in_two_ways(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    document = json.loads(dumps([of(Histogram.from_values([5, 10**6]))]))
    spot: Any = document["runs"][0]["functions"][0]
    spot = data.draw(st.sampled_from([document["runs"][0], spot, spot["wall"]]))
    key = data.draw(st.sampled_from([each for each in spot if each not in ("active", "slices", "percentiles_ns")]))
    odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    spot[key] = data.draw(odd | st.lists(odd, max_size=3) | st.lists(st.integers(-3, 3)))
    path = written(json.dumps(document), tmp_path_factory.mktemp("edited"))
    quick, slow = read(path, fast=True), read(path, fast=False)
    if isinstance(quick, str) or isinstance(slow, str):
        unread = key in ("open", "abandoned", "suspensions", "oldest_open_ns")
        assert quick == slow or (unread and not isinstance(quick, str))
    else:
        assert same(quick, slow)
