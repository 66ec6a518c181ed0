"""Recordings go through a file unchanged, and nothing that a file says is believed unchecked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording import (
    REMEDY,
    Function,
    FunctionLatency,
    Losses,
    Options,
    Overhead,
    Probes,
    Recording,
    TargetInfo,
    Watched,
    append,
    combined,
    dump,
    dumps,
    load,
    loads,
    to_json,
)
from latency.recording.combine import in_turn

TARGET = TargetInfo((4242,), "app", "3.11.2", "ab", "/usr/bin/python3", "handlers", "table 3.11", "6.18", "x86_64", 2)
PARTS = [Histogram.from_values([10**6 + i * step for i in range(20)]) for step in range(1, 31)]
WALL = PARTS[0].merge(*PARTS[1:])


def recording(**changes: Any) -> Recording:
    full: dict[str, Any] = {
        "target": TARGET,
        "duration_s": 10.0,
        "functions": (
            FunctionLatency(
                Function("Api.get", "/srv/app.py", 10, "coroutine"),
                returned=590,
                raised=10,
                wall=WALL,
                active=Histogram.from_values([5] * 600),
                open=2,
                abandoned=3,
                suspensions=4,
                oldest_open_ns=5,
            ),
            FunctionLatency(Function("idle", "/srv/app.py", 20), 0, 0, Histogram.empty()),
        ),
        "options": Options(("Api.*",), duration_s=10.0),
        "losses": Losses(too_deep=1, other={"from_the_future": 2}),
        "blind_spots": ("C code",),
        "overhead": Overhead(2400, 900.0, 0.002),
        "began_before": 1,
        "events": {"hits": 2400},
        "started_at": datetime(2026, 11, 23, 5, tzinfo=timezone.utc),
    }
    return Recording(**full | changes)


def test_a_recording_comes_back_from_a_file_as_it_was(tmp_path: Path) -> None:
    runs = [recording(), recording()]
    dump(runs, tmp_path / "r.json")
    assert load(tmp_path / "r.json") == runs


def test_slices_come_back_with_their_counts_and_sums() -> None:
    (latency, _) = recording().functions
    sliced = recording(functions=(FunctionLatency(latency.function, 590, 10, WALL, slices=tuple(PARTS)),))
    (found,) = loads(dumps([sliced]))[0].functions
    assert [(part.sum_ns, part.count) for part in found.slices] == [(part.sum_ns, part.count) for part in PARTS]
    assert all(np.array_equal(a.dense(), b.dense()) for a, b in zip(found.slices, PARTS, strict=True))
    assert to_json(sliced)["functions"][0]["intervals_ns"]["p50"]


def in_slices(cut: int = 3, **changes: Any) -> Recording:
    ages = Histogram.from_values([10**6] * cut + [10**9] * 2)
    latency = FunctionLatency(Function("f", "a.py", 1), 100, 0, Histogram.from_values([10**6] * 100), open=2)
    functions = (replace(latency, cut=cut, ages=ages),)
    return recording(functions=functions, watched=Watched(0.25, 7), **changes)


def test_a_measurement_in_slices_comes_back_with_its_cut_calls() -> None:
    whole = in_slices(overhead=Overhead(10, 900.0, 0.05, memory_bytes=10**7, map_bytes=10**6))
    assert loads(dumps([whole])) == [whole]
    written = to_json(whole)
    assert written["watched"] == {"share": 0.25, "slices": 7}
    assert written["functions"][0]["percentiles_ns"].keys() == {"p50", "p90", "p95"}
    assert written["functions"][0]["at_least_ns"] == {"p99": 1e9, "p99.9": 1e9}


@pytest.mark.parametrize("cut", [0, 6, "3", -1])
def test_cut_calls_that_have_other_ages_than_there_are_calls_are_refused(cut: object) -> None:
    document = json.loads(dumps([in_slices()]))
    document["runs"][0]["functions"][0]["cut"] = cut
    with pytest.raises(RecordingError, match=r"ages|cut"):
        loads(json.dumps(document))


@pytest.mark.parametrize("watched", [{"share": 1.5, "slices": 1}, {"share": 0.5}, [], {"share": "x", "slices": 1}])
def test_a_share_that_cannot_be_is_refused(watched: object) -> None:
    with pytest.raises(RecordingError, match="watched"):
        loads(changed(watched=watched))


def test_processes_in_slices_add_up_their_cut_calls_and_costs() -> None:
    cost = Overhead(100, 1000.0, 0.04, memory_bytes=50, map_bytes=7)
    both = combined([in_slices(overhead=cost), in_slices(overhead=cost, duration_s=5.0)])
    (latency,) = both.functions
    assert (latency.cut, latency.open, latency.ages and latency.ages.count) == (6, 4, 10)
    assert both.watched == Watched(0.25, 14)
    assert both.overhead == Overhead(200, 1000.0, pytest.approx(0.06), memory_bytes=50, map_bytes=14)


def test_a_process_in_slices_and_one_without_are_watched_for_the_mean_of_their_times() -> None:
    both = combined([in_slices(), recording(duration_s=10.0)])
    assert both.watched == Watched(0.625, 7)


def test_the_share_of_a_function_is_the_mean_of_the_times_of_those_that_have_it() -> None:
    def watched(share: float, duration_s: float) -> Recording:
        run = in_slices(duration_s=duration_s)
        return replace(run, functions=(replace(run.functions[0], watched=Watched(share, 9)),))

    other = recording(duration_s=90.0)
    (name,) = (each.function for each in in_slices().functions)
    found = combined([watched(0.25, 10.0), watched(0.5, 30.0), other]).functions
    assert {each.function: each.watched for each in found if each.watched} == {name: Watched(0.4375, 18)}
    unsliced = replace(watched(0.25, 10.0), watched=None)
    unsliced = replace(unsliced, functions=(replace(unsliced.functions[0], watched=None, ages=None, cut=0),))
    (one,) = in_turn([unsliced, watched(0.25, 20.0)]).functions
    assert one.watched == Watched(0.5, 9)


def test_measurements_in_turn_add_up_their_times_and_lose_the_calls_that_were_open_in_between() -> None:
    cost = Overhead(100, 1000.0, 0.04, memory_bytes=50, map_bytes=7)
    other = replace(TARGET, engine="watch")
    whole = in_turn([recording(target=other, overhead=cost), recording(overhead=cost, duration_s=30.0)])
    assert whole.target == TARGET
    assert (whole.duration_s, whole.calls, whole.functions[0].open) == (40.0, 1200, 2)
    assert whole.losses.unmatched_entry == 2
    assert whole.overhead == Overhead(200, 1000.0, pytest.approx(0.04), memory_bytes=50, map_bytes=14)
    assert whole.processes == ()
    assert loads(dumps([whole])) == [whole]


def test_where_ages_are_kept_these_are_cut() -> None:
    whole = in_turn([in_slices(), in_slices()])
    assert (whole.functions[0].cut, whole.functions[0].open, whole.losses.unmatched_entry) == (8, 2, 0)
    assert loads(dumps([whole])) == [whole]


def test_a_function_that_was_not_called_meanwhile_stays_the_same_object() -> None:
    """So whoever puts a thousand of them into words again and again needs not do it for those that are as they were."""
    before = replace(recording().functions[0], open=0, oldest_open_ns=0, slices=(), probes=Probes(700, 0.1))
    idle = FunctionLatency(
        before.function, 0, 0, Histogram.empty(), before.active and Histogram.empty(), code=before.code
    )
    idle = replace(idle, probes=Probes(0, 0.3), split=before.split and before.split.since(before.split))
    for meanwhile, is_same in ((idle, True), (replace(idle, open=1), False), (replace(idle, ages=PARTS[0]), False)):
        (after,) = in_turn([recording(functions=(before,)), recording(functions=(meanwhile,))]).functions
        assert (after is before) is is_same
        assert (after.wall, after.probes) == (before.wall, before.probes)
    (after,) = in_turn([recording(functions=(before,)), recording(functions=(replace(idle, abandoned=3),))]).functions
    assert after.abandoned == before.abandoned + 3


def test_one_measurement_alone_is_as_it_is() -> None:
    alone = recording()
    assert in_turn([alone]) is alone


def test_no_recordings_make_none() -> None:
    with pytest.raises(RecordingError, match="no recordings"):
        combined([])


def test_a_recording_that_does_not_say_of_which_process_it_is_adds_its_calls_to_none() -> None:
    nobody = recording(target=replace(TARGET, pids=()))
    both = combined([recording(), nobody])
    assert both.calls == 1200
    assert [(each.pid, each.calls) for each in both.processes] == [(4242, 600)]


def test_calls_are_those_that_returned_and_those_that_raised() -> None:
    assert recording().functions[0].calls == 600
    assert recording().calls == 600


def test_a_function_without_calls_has_no_percentiles() -> None:
    idle = to_json(recording())["functions"][1]
    assert idle["percentiles_ns"] == {}
    assert idle["wall"]["counts"] == []


@given(st.text(st.characters(), max_size=30))
def test_any_name_survives(name: str) -> None:
    odd = recording(functions=(FunctionLatency(Function(name, name, 1), 0, 0, Histogram.empty()),))
    assert loads(dumps([odd]))[0].functions[0].function.qualname == name


def test_a_lone_surrogate_in_a_name_survives() -> None:
    odd = recording(functions=(FunctionLatency(Function("\udcff", "f", 1), 0, 0, Histogram.empty()),))
    assert loads(dumps([odd]))[0].functions[0].function.qualname == "\udcff"


def test_a_time_without_fractions_is_read() -> None:
    assert loads(changed(started_at="2026-11-23T05:00:00Z"))[0].started_at == recording().started_at


def test_append_adds_a_run_and_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    first, second = recording(), recording()
    append([first], path)
    append([second], path)
    assert load(path) == [first, second]


def test_one_run_is_not_appended_twice(tmp_path: Path) -> None:
    run = recording()
    append([run], tmp_path / "r.json")
    with pytest.raises(RecordingError, match="already"):
        append([run], tmp_path / "r.json")


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    dump([recording()], path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump([recording(duration_s=float("nan"))], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        dump([recording()], tmp_path / "none" / "r.json")


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "r.json")
    dump([recording()], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(load(tmp_path / "r.json")) == 1


def test_a_device_is_written_to_and_not_replaced() -> None:
    dump([recording()], Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


def test_unknown_keys_are_ignored_and_unknown_losses_kept() -> None:
    (run,) = loads(changed(surprise={"a": [1]}))
    assert run.losses.other == {"from_the_future": 2}
    assert run.losses.total == 3


def test_every_loss_says_what_to_do() -> None:
    assert set(REMEDY) == set(Losses().as_dict())


def test_losses_add_up_by_reason() -> None:
    both = Losses(too_deep=1, other={"x": 1}) + Losses(too_deep=2, negative=1, other={"x": 3})
    assert both == Losses(too_deep=3, negative=1, other={"x": 4})


def test_the_share_lost_is_of_all_that_should_have_been_measured() -> None:
    assert recording().loss_share == pytest.approx(3 / 603)
    assert recording(functions=(), losses=Losses()).loss_share == 0


def changed(**keys: object) -> str:
    return edited(lambda run: run.update(keys))


def edited(edit: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(dumps([recording()]))
    edit(document["runs"][0])
    return json.dumps(document)


def wall(**keys: object) -> str:
    return edited(lambda run: run["functions"][0]["wall"].update(keys))


def function(**keys: object) -> str:
    return edited(lambda run: run["functions"][0].update(keys))


BROKEN = {
    "no text": ("", "not JSON"),
    "cut short": (dumps([recording()])[:400], "not JSON"),
    "nested deeply": ("[" * 100_000, "nested too deeply"),
    "something else": ("[1]", "schema"),
    "a newer schema": ('{"schema": "pylat/2", "runs": []}', "pylat/2"),
    "no runs": ('{"schema": "pylat/1"}', "runs"),
    "a run that is a number": ('{"schema": "pylat/1", "runs": [3]}', r"runs\[0\]"),
    "an infinite duration": (changed(duration_s=float("inf")), "Infinity"),
    "an overflowing duration": (dumps([recording()]).replace('"duration_s":10.0', '"duration_s":1e999'), "duration_s"),
    "a negative loss": (changed(losses={"too_deep": -1}), r"runs\[0\]\.losses\['too_deep'\]: "),
    "a loss with a hostile name": (changed(losses={"\x1b[2J\n" * 999: -1}), r"losses\['\\x1b"),
    "a target without a kernel": (changed(target={}), r"target\.\w+: missing"),
    "no such day": (changed(started_at="2026-02-31T05:00:00Z"), "started_at"),
    "a year out of range": (changed(started_at="0001-01-01T00:00:00+23:59"), "started_at"),
    "functions by name": (changed(functions={}), "functions: not a list"),
    "calls that do not add up": (function(calls=7), r"functions\[0\]\.calls"),
    "a name that is a number": (function(qualname=3), "qualname: not text"),
    "a kind unheard of": (function(kind="macro"), "kind"),
    "a negative count": (wall(counts=[-1]), r"wall\.counts"),
    "a count of 2^63": (wall(counts=[2**63]), r"wall\.counts"),
    "a sum of counts of 2^63": (wall(counts=[2**62, 2**62]), r"wall\.counts"),
    "a fraction of a call": (wall(counts=[0.5]), r"wall\.counts"),
    "a text for a count": (wall(counts=["9" * 99]), r"wall\.counts"),
    "lists for counts": (wall(counts=[[1], [2]]), r"wall\.counts"),
    "a truth for a count": (wall(counts=[True]), r"wall\.counts"),
    "too many buckets": (wall(counts=[0] * 4097), r"wall\.counts"),
    "a count that is not the sum": (wall(count=7), r"wall\.count: "),
    "a huge bucket index": (wall(offset=10**9), r"wall\.offset"),
    "a tiny bucket index": (wall(offset=-(10**9)), r"wall\.offset"),
    "a scale too fine": (wall(scale=9), r"wall\.scale"),
    "another unit": (wall(unit="ms"), r"wall\.unit"),
    "extremes exchanged": (wall(min_ns=2, max_ns=1), r"wall\.min_ns"),
    "a slice without counts": (function(slices=[[0, 1]]), "slices"),
    "too many slices": (function(slices=[[0, 0, []]] * 1001), "slices"),
    "one id twice": (json.dumps({"schema": "pylat/1", "runs": [to_json(recording(id="x"))] * 2}), "one id"),
}


@pytest.mark.parametrize(("text", "match"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_clear_line(text: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(RecordingError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert caught.value.hint


def edit_somewhere(document: Any, data: st.DataObject, *, beside: Collection[str] = ()) -> None:
    """Put something else in one place of a document, but not at or below the keys ``beside``."""
    spot = document
    while True:
        keys = [key for key in spot if key not in beside] if isinstance(spot, dict) else range(len(spot))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(spot[key], (dict, list)) or not spot[key] or data.draw(st.booleans()):
            break
        spot = spot[key]
    odd = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    spot[key] = data.draw(odd | st.lists(odd, max_size=3) | st.dictionaries(st.text(max_size=3), odd, max_size=2))


@given(st.data())
def test_no_edit_of_a_file_escapes_as_another_error(data: st.DataObject) -> None:
    document = json.loads(dumps([recording()]))
    edit_somewhere(document, data)
    with contextlib.suppress(RecordingError):
        loads(json.dumps(document))


def test_bytes_that_are_no_text_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(RecordingError, match="UTF-8"):
        load(tmp_path / "r.json")


def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        load(tmp_path / "none.json")


def test_what_the_probes_took_is_kept() -> None:
    latency = FunctionLatency(Function("f", "a.py", 1), 600, 0, WALL, probes=Probes(6 * 10**6, 0.03, 0.1, 7))
    (again,) = loads(dumps([recording(functions=(latency,))]))[0].functions
    assert again.probes == latency.probes
    assert again.probe_error_ns == pytest.approx(300)


def test_intervals_hold_the_error_of_what_was_taken_off() -> None:
    latency = FunctionLatency(Function("f", "a.py", 1), 590, 10, WALL, slices=tuple(PARTS))
    off = replace(latency, probes=Probes(600 * 10**4, 0.05))
    for one, other in zip(latency.intervals_ns(), off.intervals_ns(), strict=True):
        assert one
        assert other == pytest.approx((max(0, one[0] - 500), one[1] + 500))


def test_what_the_probes_took_of_two_measurements_is_added() -> None:
    assert Probes(10**6, 0.02) + Probes(3 * 10**6, 0.04) == Probes(4 * 10**6, pytest.approx(0.035))


def test_intervals_reach_down_to_where_a_quantile_is_without_the_calls_that_were_delayed() -> None:
    """One call in ten took a hundred times as long, and it was the probes by which it lost the processor."""
    usual, delayed = Histogram.from_values([10**5] * 90), Histogram.from_values([10**7] * 10)
    parts = tuple(usual + delayed for _ in range(30))
    wall = parts[0].merge(*parts[1:])
    latency = FunctionLatency(Function("f", "a.py", 1), wall.count, 0, wall, slices=parts)
    (plain,) = latency.intervals_ns([0.95])
    (held,) = replace(latency, probes=Probes(10**6, 0.0, 0.1)).intervals_ns([0.95])
    assert plain
    assert held
    assert plain[0] > 10**6
    assert held[0] == pytest.approx(10**5, rel=0.05)
    assert held[1] == plain[1]


def test_what_the_probes_took_of_two_processes_is_as_wrong_as_both() -> None:
    both = Probes(4000, pytest.approx(0.05), pytest.approx(0.15), 5)
    assert Probes(3000, 0.04, 0.2, 3) + Probes(1000, 0.08, 0.0, 2) == both
    assert Probes(0, 0.04, unsure_ns=3) + Probes(0, 0.1) == Probes(0, 0.1, unsure_ns=3)


def test_intervals_reach_down_by_what_the_probes_took_while_the_call_was_suspended() -> None:
    latency = FunctionLatency(Function("f", "a.py", 1), 590, 10, WALL, slices=tuple(PARTS))
    unsure = replace(latency, probes=Probes(0, 0.0, unsure_ns=600 * 300))
    for one, other in zip(latency.intervals_ns(), unsure.intervals_ns(), strict=True):
        assert one
        assert other == pytest.approx((max(0, one[0] - 300), one[1]))


def test_functions_that_are_made_together_are_those_that_are_made_one_by_one() -> None:
    rows = [("Api.get", "/srv/app.py", 10, "coroutine"), ("work", "<string>", 1, "function")]
    many = Function.many(*zip(*rows, strict=True))
    assert many == [Function(*row) for row in rows]
    assert list(map(hash, many)) == [hash(Function(*row)) for row in rows]
    assert [replace(it, module="app") for it in many] == [Function(*row, "app") for row in rows]
    assert Function.many((), (), (), ()) == []
