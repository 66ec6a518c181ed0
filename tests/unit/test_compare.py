"""Recordings of two sides become verdicts, warnings and an exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latency.errors import RecordingError
from latency.histogram import Histogram
from latency.recording import FunctionLatency, Losses, Options, Probes, Recording
from latency.report.compare import Change, Comparison, compare, exit_status
from latency.report.compare_gates import Gate
from latency.report.statistics import Verdict
from tests.unit.comparing import function, latency, run, runs

BASE = {"slow": 1e6, "fast": 1e6, "same": 1e6}
HEAD = {"slow": 1.1e6, "fast": 0.9e6, "same": 1e6}


def gates(*texts: str) -> list[Gate]:
    return [Gate.parse(text) for text in texts]


def change(comparison: Comparison, name: str, statistic: str = "p50") -> Change:
    (found,) = (each for each in comparison.functions if each.function.qualname == name)
    return next(each for each in found.changes if each.statistic == statistic)


def test_slower_faster_and_same() -> None:
    found = compare(runs(BASE), runs(HEAD, head=True))
    assert [(each.function.qualname, each.verdict) for each in found.functions] == [
        ("slow", Verdict.SLOWER),
        ("fast", Verdict.FASTER),
        ("same", Verdict.SAME),
    ]
    assert not found.warnings


def test_a_change_is_told_with_its_interval() -> None:
    slow = change(compare(runs(BASE), runs(HEAD, head=True)), "slow")
    assert slow.shift == pytest.approx(0.1, abs=0.01)
    assert slow.interval is not None
    assert slow.interval[0] < slow.shift < slow.interval[1]
    assert slow.base_ns == pytest.approx(1e6, rel=0.03)
    assert slow.runs == (10, 10)
    assert slow.p is not None
    assert slow.p_adjusted == pytest.approx(3 * slow.p)


def test_the_mean_is_exact() -> None:
    mean = change(compare(runs({"f": 1e6}), runs({"f": 1.1e6}, head=True), gates("mean:3%")), "f", "mean")
    assert mean.shift == pytest.approx(0.1, abs=1e-3)
    assert mean.verdict is Verdict.SLOWER


def test_runs_that_differ_much_are_inconclusive_and_say_how_many_would_do() -> None:
    found = change(compare(runs({"f": 1e6}, 5, wobble=20), runs({"f": 1.02e6}, 5, head=True, wobble=20)), "f")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.runs_needed is not None
    assert found.runs_needed > 5


def test_below_five_runs_a_side_nothing_is_judged() -> None:
    found = compare(runs({"f": 1e6}, 4), runs({"f": 9e6}, 10, head=True))
    assert change(found, "f").verdict is Verdict.DESCRIBED
    assert change(found, "f").interval is not None
    assert exit_status(found) == 0
    assert exit_status(found, strict=True) == 3


def test_a_shift_below_the_limit_is_no_regression() -> None:
    found = compare(runs({"f": 1e6}), runs({"f": 1.05e6}, head=True), gates("p50:10%"))
    assert change(found, "f").verdict is Verdict.SAME


def test_a_limit_in_time_is_of_the_base() -> None:
    base, head = runs({"f": 1e8}), runs({"f": 1.03e8}, head=True)
    assert change(compare(base, head, gates("mean:1ms")), "f", "mean").verdict is Verdict.SLOWER
    assert change(compare(base, head, gates("mean:9ms")), "f", "mean").verdict is Verdict.SAME


def test_statistics_without_a_gate_are_described() -> None:
    found = compare(runs({"f": 1e6}), runs({"f": 2e6}, head=True))
    assert {each.statistic: each.verdict for each in found.functions[0].changes} == {
        "p50": Verdict.SLOWER,
        "p90": Verdict.DESCRIBED,
        "p99": Verdict.DESCRIBED,
        "mean": Verdict.DESCRIBED,
    }


def test_a_gate_of_one_function_leaves_the_others_alone() -> None:
    found = compare(runs(BASE), runs(HEAD, head=True), gates("fa*=p50:3%"))
    assert change(found, "slow").verdict is Verdict.DESCRIBED
    assert exit_status(found) == 0


def test_of_two_gates_for_one_thing_the_later_holds() -> None:
    found = compare(runs(BASE), runs(HEAD, head=True), gates("p50:3%", "slow=p50:30%"))
    assert change(found, "slow").verdict is Verdict.SAME
    assert change(found, "fast").verdict is Verdict.FASTER


STATUS: dict[str, tuple[dict[str, float], float, Sequence[str], int, int]] = {
    "slower": ({"f": 1.1e6}, 1, ["p50:3%"], 1, 1),
    "faster": ({"f": 0.9e6}, 1, ["p50:3%"], 0, 0),
    "same": ({"f": 1e6}, 1, ["p50:3%"], 0, 0),
    "inconclusive": ({"f": 1e6}, 20, ["p50:3%"], 0, 3),
    "no function of both sides": ({"g": 1e6}, 1, ["p50:3%"], 3, 3),
    "a wildcard for no function": ({"f": 1e6}, 1, ["p50:3%", "nope*=mean:1ms"], 0, 3),
    "a name of no function": ({"f": 1e6}, 1, ["p50:3%", "nope=mean:1ms"], 3, 3),
    "no gate for any function": ({"f": 9e6}, 1, ["nope=p50:3%"], 3, 3),
    "nothing to be judged": ({"f": 9e6}, 1, [], 0, 0),
}


@pytest.mark.parametrize(("medians", "wobble", "texts", "status", "strict"), STATUS.values(), ids=STATUS)
def test_the_exit_status(
    medians: dict[str, float], wobble: float, texts: Sequence[str], status: int, strict: int
) -> None:
    found = compare(runs({"f": 1e6}, wobble=wobble), runs(medians, head=True, wobble=wobble), gates(*texts))
    assert exit_status(found) == status
    assert exit_status(found, strict=True) == strict


def test_functions_of_one_side_only_are_named() -> None:
    found = compare(runs({"f": 1e6, "gone": 1e6}), runs({"f": 1e6, "new": 1e6}, head=True))
    assert [each.qualname for each in found.only_base] == ["gone"]
    assert [each.qualname for each in found.only_head] == ["new"]


def test_a_function_without_calls_is_on_no_side() -> None:
    idle = FunctionLatency(function("idle"), 0, 0, Histogram.empty())
    base = [replace(each, functions=(*each.functions, idle)) for each in runs({"f": 1e6})]
    found = compare(base, runs({"f": 1e6, "idle": 1e6}, head=True))
    assert not found.only_base
    assert [each.qualname for each in found.only_head] == ["idle"]


def test_a_run_without_calls_of_a_function_does_not_count_for_it() -> None:
    base = [*runs({"f": 1e6, "rare": 1e6}, 4), *(replace(each, functions=()) for each in runs({}, 3))]
    found = compare(base, runs({"f": 1e6, "rare": 1e6}, head=True))
    assert change(found, "rare").runs == (4, 10)
    assert change(found, "rare").verdict is Verdict.DESCRIBED


def test_no_calls_at_all_is_a_comparison_of_nothing() -> None:
    found = compare(runs({}), runs({}, head=True))
    assert found.functions == ()
    assert exit_status(found) == 3


def test_a_side_without_runs_is_refused() -> None:
    with pytest.raises(RecordingError, match="no runs in head"):
        compare(runs(BASE), [])


def test_a_run_that_is_twice_on_a_side_is_refused() -> None:
    base = runs(BASE)
    with pytest.raises(RecordingError, match="twice in base"):
        compare([*base, base[0]], runs(HEAD, head=True))


def doubts(base: Sequence[Recording], head: Sequence[Recording], **options: Any) -> str:
    return "\n".join(compare(base, head, **options).warnings)


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        ({"python": "3.12.1"}, "Python is not the same: base 3.11.2, head 3.12.1"),
        ({"kernel": "7.0"}, "kernel"),
        ({"machine": "aarch64"}, "CPU"),
        ({"cpus": 64}, "number of CPUs"),
        ({"engine": "usdt"}, "engine"),
    ],
)
def test_what_differs_beside_the_program_is_told(changed: dict[str, Any], about: str) -> None:
    assert about in doubts(runs({"f": 1e6}), runs({"f": 1e6}, head=True, **changed))


def test_sides_that_did_not_take_turns_are_told() -> None:
    later = [replace(each, started_at=each.started_at.replace(hour=9)) for each in runs({"f": 1e6}, head=True)]
    assert "base ran before" in doubts(runs({"f": 1e6}), later)


def test_losses_are_told() -> None:
    lossy = [replace(each, losses=Losses(too_deep=4)) for each in runs({"f": 1e6})]
    assert "base lost up to 0.99 % of its calls, in 10 of 10 runs" in doubts(lossy, runs({"f": 1e6}, head=True))
    assert not doubts(lossy, runs({"f": 1e6}, head=True), max_loss=0.02)


def test_a_file_against_itself_is_told() -> None:
    base = runs({"f": 1e6})
    assert "on both sides" in doubts(base, base)


def test_a_percentile_that_stands_on_few_calls_is_told() -> None:
    assert "p99 of 1 function: fewer than 10 calls" in doubts(
        runs({"f": 1e6}), runs({"f": 1e6}, head=True), gates=gates("p99:50%")
    )


def narrow(median_ns: float, *, head: bool = False) -> list[Recording]:
    """Runs whose calls take about the same time, less apart than a bucket is wide, but for a first and a last one."""
    shape = np.array([0.5, *np.linspace(0.999, 1.001, 97), 3.0])
    wall = Histogram.from_values((median_ns * shape).astype(np.int64))
    return [run([FunctionLatency(function("f"), 99, 0, wall)], 20 * turn + 10 * head) for turn in range(10)]


def test_a_step_over_the_bound_of_a_bucket_is_no_regression() -> None:
    bound_ns = 1e9 / 2**10
    base, head = narrow(bound_ns * 0.997), narrow(bound_ns * 1.003, head=True)
    found = compare(base, head)
    assert change(found, "f").shift > 0.04
    assert change(found, "f").verdict is not Verdict.SLOWER
    assert "most calls in one bucket of 4.4 %" in "\n".join(found.warnings)
    assert change(compare(base, head, gates("mean:3%")), "f", "mean").verdict is Verdict.SAME


def test_grids_of_two_scales_are_compared_on_the_coarser() -> None:
    coarse = [
        replace(each, functions=tuple(replace(one, wall=one.wall.downscale(2)) for one in each.functions))
        for each in runs({"f": 2e6}, head=True)
    ]
    found = compare(runs({"f": 1e6}), coarse)
    assert "compared on scale 2" in "\n".join(found.warnings)
    assert change(found, "f").shift == pytest.approx(1.0, abs=0.03)


def of_files(medians_ns: Mapping[str, float], *, head: bool = False, options: Options | None = None) -> list[Recording]:
    """Runs of functions ``get``, by their files."""
    made = runs(medians_ns, head=head)
    return [
        replace(
            each,
            functions=tuple(replace(one, function=function("get", 4, one.function.qualname)) for one in each.functions),
            options=options or Options(),
        )
        for each in made
    ]


def test_of_two_checkouts_each_function_is_compared_with_itself() -> None:
    found = compare(
        of_files({"/x/base/users/views.py": 1e6, "/x/base/orders/views.py": 1e6}),
        of_files({"/x/head/users/views.py": 1e6, "/x/head/orders/views.py": 1.2e6}, head=True),
    )
    assert [(each.function.filename, each.verdict) for each in found.functions] == [
        ("/x/head/orders/views.py", Verdict.SLOWER),
        ("/x/head/users/views.py", Verdict.SAME),
    ]
    assert exit_status(found) == 1


def test_what_cannot_be_told_apart_is_said_and_not_judged() -> None:
    base = of_files({"/x/a/views.py": 1e6, "/x/b/views.py": 1e6})
    head = of_files({"/y/c/views.py": 9e6}, head=True)
    found = compare([*base], [replace(each, functions=(*each.functions, latency(function("f"), 1e6))) for each in head])
    assert not found.functions
    (unclear,) = found.ambiguous
    assert [[each.filename for each in side] for side in unclear] == [
        ["/x/a/views.py", "/x/b/views.py"],
        ["/y/c/views.py"],
    ]
    assert not found.only_base
    assert [each.qualname for each in found.only_head] == ["f"]


@pytest.mark.parametrize(
    ("func", "status"),
    [((), 0), (("get",), 3), (("app:get",), 3), (("g*",), 0), (("other",), 0), (("b.py:4",), 3)],
)
def test_a_function_that_func_names_must_have_a_partner(func: tuple[str, ...], status: int) -> None:
    options = Options(func)
    base = of_files({"/x/a.py": 1e6, "/x/b.py": 1e6}, options=options)
    found = compare(base, of_files({"/x/a.py": 1e6}, head=True, options=options))
    assert exit_status(found) == status
    assert bool(found.missing) == bool(status)


@pytest.mark.parametrize(
    ("gate", "status"), [("b.py:get=p50:3%", 3), ("get=p50:3%", 3), ("g*=p50:3%", 0), ("p50:3%", 0)]
)
def test_a_function_that_a_gate_names_must_have_a_partner(gate: str, status: int) -> None:
    base = of_files({"/x/a.py": 1e6, "/x/b.py": 1e6})
    assert exit_status(compare(base, of_files({"/x/a.py": 1e6}, head=True), gates("p50:3%", gate))) == status


def test_lambdas_are_told_apart_by_their_code_where_the_recordings_have_it() -> None:
    def of_lambdas(lines: Mapping[int, tuple[float, str]], *, head: bool = False) -> list[Recording]:
        return [
            run(
                [replace(latency(function("<lambda>", line), ns), code=code) for line, (ns, code) in lines.items()],
                20 * turn + 10 * head,
            )
            for turn in range(5)
        ]

    base = of_lambdas({4: (1e5, "3.11:a"), 5: (4e5, "3.11:b")})
    found = compare(base, of_lambdas({4: (4e5, "3.11:b"), 5: (16e5, "3.11:c")}, head=True))
    assert [(each.before.line, each.function.line, each.verdict) for each in found.functions] == [(5, 4, Verdict.SAME)]
    assert [each.line for each in (*found.only_base, *found.only_head)] == [4, 5]
    blind = compare(base, of_lambdas({4: (4e5, ""), 5: (16e5, "")}, head=True))
    assert "2 functions told from others of the same name by their order" in "\n".join(blind.warnings)


def test_one_function_of_two_code_objects_is_one() -> None:
    twice = [run([latency(function("f"), 1e6), latency(function("f"), 1e6)], 20 * turn) for turn in range(5)]
    found = compare(twice, runs({"f": 1e6}, head=True))
    assert len(found.functions) == 1
    assert found.base.calls().tolist() == [[800]] * 5


def probed(side: Sequence[Recording], mean_ns: float, share: float = 0.04) -> list[Recording]:
    """The same runs where the probes took so much of each call, wrong by that share of itself."""
    return [
        replace(
            each,
            functions=tuple(replace(one, probes=Probes(round(mean_ns * one.calls), share)) for one in each.functions),
        )
        for each in side
    ]


def test_a_change_within_the_error_of_the_probes_is_not_judged_and_says_so() -> None:
    base, head = runs({"f": 1e6}), runs({"f": 1.1e6}, head=True)
    assert change(compare(probed(base, 1e6), probed(head, 1e6)), "f").verdict is Verdict.SLOWER
    found = change(compare(probed(base, 2e6), probed(head, 2e6)), "f")
    assert (found.verdict, found.by_probes, found.runs_needed) == (Verdict.INCONCLUSIVE, True, None)
    assert found.shift == pytest.approx(0.1, abs=0.01)


def test_nothing_is_the_same_beyond_what_the_probes_let_tell() -> None:
    base, head = runs({"f": 1e6}), runs({"f": 1e6}, head=True)
    assert change(compare(probed(base, 1e5), probed(head, 1e5)), "f").verdict is Verdict.SAME
    found = change(compare(probed(base, 1e6), probed(head, 1e6)), "f")
    assert (found.verdict, found.by_probes) == (Verdict.INCONCLUSIVE, True)
    assert exit_status(compare(probed(base, 1e6), probed(head, 1e6)), strict=True) == 3


def test_a_change_beyond_the_error_of_the_probes_is_judged_with_a_wider_interval() -> None:
    base, head = runs({"f": 1e6}), runs({"f": 2e6}, head=True)
    plain, wide = (change(compare(*sides), "f") for sides in ((base, head), (probed(base, 2e6), probed(head, 2e6))))
    assert wide.verdict is Verdict.SLOWER
    assert plain.interval is not None
    assert wide.interval is not None
    # 80 µs of 1 ms, and 80 µs of 2 ms: from 1.92 / 1.08 to 2.08 / 0.92
    assert wide.interval[0] == pytest.approx((1 + plain.interval[0]) * (1.92 / 2) / 1.08 - 1, abs=0.02)
    assert wide.interval[1] == pytest.approx((1 + plain.interval[1]) * (2.08 / 2) / 0.92 - 1, abs=0.02)


def test_calls_that_the_probes_delayed_widen_a_change_of_percentiles_one_way() -> None:
    def delayed(side: Sequence[Recording]) -> list[Recording]:
        probes = Probes(0, 0.04, delayed_share=0.5)
        return [replace(it, functions=tuple(replace(one, probes=probes) for one in it.functions)) for it in side]

    base, head = runs({"f": 1e6}), runs({"f": 1.1e6}, head=True)
    plain, lower = change(compare(base, head), "f"), change(compare(base, delayed(head)), "f")
    assert plain.interval is not None
    assert lower.interval is not None
    assert lower.interval[0] < plain.interval[0] - 0.1
    assert lower.interval[1] == plain.interval[1]
    assert lower.by_probes
    assert change(compare(delayed(base), head), "f").verdict is Verdict.SLOWER


def test_what_the_probes_took_of_suspended_calls_widens_a_change() -> None:
    base, head = runs({"f": 1e6}), runs({"f": 1.1e6}, head=True)
    unsure = [
        replace(
            each,
            functions=tuple(replace(it, probes=Probes(0, 0.04, unsure_ns=200_000 * it.calls)) for it in each.functions),
        )
        for each in head
    ]
    assert change(compare(base, unsure), "f").by_probes


def test_latencies_that_are_all_error_are_never_judged() -> None:
    base, head = probed(runs({"f": 1e3}), 1e6), probed(runs({"f": 9e3}, head=True), 1e6)
    found = change(compare(base, head), "f")
    assert (found.verdict, found.by_probes) == (Verdict.INCONCLUSIVE, True)
    assert found.interval is not None
    assert found.interval[0] == -1


def test_sides_of_which_one_has_the_probes_in_its_latencies_are_told() -> None:
    assert "taken off in head alone" in doubts(runs({"f": 1e6}), probed(runs({"f": 1e6}, head=True), 1e3))
