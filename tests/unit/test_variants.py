"""Variants of CPython: their names, what a seed chooses, and how their counts are judged. None is made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.variants import EXACT, LOST, REFUSED, UNMADE, WRONG, Judgement, Result, judged, read, summary, worst
from tests.lab import builds
from tests.lab.variants import COMPILERS, FILES, RECIPES, SHAPES, USUAL_COMPILER, VERSIONS, chosen, named, suite_of

MANY = [chosen(1, number) for number in range(200)]


def result(name: str, handlers: Judgement, watch: Judgement | None = None) -> Result:
    return Result(name, f"about {name}", {"handlers": handlers, "watch": watch or Judgement(EXACT)}, 8, 1)


def test_a_name_stands_for_all_that_begin_with_it_in_each_version() -> None:
    assert [it.name for it in named(["docker"])] == [
        f"{version}-docker-{kind}" for kind in ("fp", "nofp", "pgo") for version in VERSIONS
    ]
    assert len(named(["all"])) == len(VERSIONS) * len(RECIPES)


def test_a_version_and_a_compiler_can_be_asked_for() -> None:
    (variant,) = named(["3.11-docker-fp@gcc-12"])
    assert (variant.name, variant.version, variant.made.compiler) == ("3.11-docker-fp@gcc-12", "3.11", "gcc-12")
    assert variant.made.flags == named(["3.11-docker-fp"])[0].made.flags


def test_the_usual_compiler_said_or_not_is_one_variant() -> None:
    assert [it.name for it in named(["3.13-O2", f"3.13-O2@{USUAL_COMPILER}"])] == ["3.13-O2"]


@pytest.mark.parametrize("name", ["dock", "3.12-docker", "docker@gcc-4", "", "O"])
def test_what_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no"):
        named([name])


def test_no_two_variants_have_one_folder() -> None:
    everything = [*named(["all"]), *MANY]
    assert len({it.name for it in everything}) == len(everything)


def test_a_seed_chooses_the_same_however_many_are_asked_for() -> None:
    assert chosen(1, 150) == MANY[150]
    assert chosen(2, 150).made != MANY[150].made or chosen(2, 151).made != MANY[151].made


def test_two_hundred_have_all_compilers_versions_and_shapes_and_mixtures_of_them() -> None:
    assert {it.made.compiler for it in MANY} == set(COMPILERS)
    assert {it.version for it in MANY} == set(VERSIONS)
    assert {it.shape for it in MANY} == set(SHAPES)
    assert {bool(it.other) for it in MANY} == {True, False}
    assert len({(it.version, it.shape, it.made, tuple(it.other.items())) for it in MANY}) == len(MANY)
    assert all(set(it.other) <= FILES[it.version].keys() - {"ceval"} for it in MANY)


def test_a_variant_says_how_each_of_its_files_is_compiled() -> None:
    mixed = next(it for it in MANY if it.other)
    for name in FILES[mixed.version]:
        assert mixed.made_by(name) == mixed.other.get(name, mixed.made)
    for name, how in mixed.other.items():
        assert f"{name}: {how.compiler} {' '.join(how.flags)}" in mixed.about


def test_what_was_made_is_found_and_tried_only_where_all_are_asked_for(tmp_path: Path) -> None:
    (variant,) = named(["3.13-gcc-16"])
    path = builds.program_of(tmp_path, variant)
    assert path.is_relative_to(builds.root_of(tmp_path, suite_of(variant)))
    for place in path, path.parent.parent / ".making-1" / path.name:
        place.parent.mkdir(parents=True)
        place.touch()
    (candidate,) = builds.made(tmp_path)
    assert (candidate.path, candidate.root) == (path, builds.root_of(tmp_path, "sid"))
    assert (candidate.origin, candidate.in_every_run) == ("built-gcc-16", False)


def test_a_wrong_count_is_wrong_only_if_nothing_is_said_to_be_lost() -> None:
    assert judged({}, 0) == Judgement(EXACT)
    assert judged({"f": [1, 2]}, 0) == Judgement(WRONG, '{"f": [1, 2]}')
    assert judged({"f": [1, 2]}, 1).verdict == judged({}, 1).verdict == LOST


def test_the_worst_of_several_measurements_is_that_of_the_engine() -> None:
    assert worst([Judgement(EXACT), Judgement(WRONG, "first"), Judgement(LOST), Judgement(WRONG, "second")]) == (
        Judgement(WRONG, "first")
    )


def test_results_are_read_back_and_a_line_cut_off_is_tried_again(tmp_path: Path) -> None:
    results = [result("3.13-s1-000", Judgement(EXACT)), result("3.11-s1-001", Judgement(REFUSED, "its words"))]
    path = tmp_path / "variants.jsonl"
    assert read(path) == {}
    path.write_text("".join(f"{it.line()}\n" for it in results) + results[0].line()[:40])
    assert list(read(path).values()) == results


def test_the_summary_counts_each_verdict_and_says_words_that_are_alike_once() -> None:
    results = [
        result("one", Judgement(EXACT)),
        result("two", Judgement(REFUSED, "ends at 0xab"), Judgement(WRONG, "2 of 3")),
        result("three", Judgement(REFUSED, "ends at 0xcd")),
        result("four", Judgement(UNMADE, "no gcc"), Judgement(UNMADE, "no gcc")),
    ]
    lines = summary(results).splitlines()
    assert "| handlers | 1 | 2 | 0 | 0 | 0 | 1 |" in lines
    assert "| watch | 2 | 0 | 0 | 1 | 0 | 1 |" in lines
    assert "- refused by handlers, 2 of them, such as about two: ends at 0x…" in lines
    assert "- WRONG by watch, 1 of them, such as about two: 2 of 3" in lines
