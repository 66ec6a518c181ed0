"""Which function of one side is which of the other: a wrong pair would be a wrong verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.report.compare_pairs import Pairing, pair
from tests.unit.comparing import function

LAMBDA = "<lambda>"


def paired(base: Any, head: Any) -> Pairing:
    """Of (qualname, line, file, code)."""
    sides = [[function(*each[:3]) for each in side] for side in (base, head)]
    codes = [[f"3.11:{each[3]}" if len(each) > 3 and each[3] else "" for each in side] for side in (base, head)]
    return pair(sides[0], sides[1], codes[0], codes[1])


FILES = {
    "moved within its file": ([("f", 1, "a.py")], [("f", 9, "a.py")], [(0, 0)], []),
    "in another folder": ([("f", 1, "/base/app/a.py")], [("f", 9, "/head/app/a.py")], [(0, 0)], []),
    "in another file": ([("f", 1, "a.py")], [("f", 1, "b.py")], [], []),
    "two checkouts": (
        [("get", 4, "/x/base/users/views.py"), ("get", 4, "/x/base/orders/views.py")],
        [("get", 4, "/x/head/orders/views.py"), ("get", 4, "/x/head/users/views.py")],
        [(1, 0), (0, 1)],
        [],
    ),
    "one of two in another folder": (
        [("f", 1, "x/a.py"), ("f", 1, "y/a.py")],
        [("f", 1, "z/a.py")],
        [],
        [((0, 1), (0,))],
    ),
    "one gone and one new of the same end": (
        [("get", 4, "/base/users/views.py"), ("get", 4, "/base/orders/views.py")],
        [("get", 4, "/head/users/views.py"), ("get", 4, "/head/items/views.py")],
        [(0, 0)],
        [((1,), (1,))],
    ),
    "one gone": (
        [("get", 4, "/base/users/views.py"), ("get", 4, "/base/orders/views.py")],
        [("get", 4, "/head/users/views.py")],
        [(0, 0)],
        [],
    ),
    "a longer end that another one has": (
        [("f", 1, "/1/app/a.py"), ("f", 1, "/1/lib/app/a.py")],
        [("f", 1, "/2/lib/app/a.py"), ("f", 1, "/2/app/a.py")],
        [(1, 0)],
        [((0,), (1,))],
    ),
}


@pytest.mark.parametrize(("base", "head", "pairs", "ambiguous"), FILES.values(), ids=FILES)
def test_files_are_the_same_by_the_longest_end_that_no_other_has(
    base: Any, head: Any, pairs: Any, ambiguous: Any
) -> None:
    found = paired(base, head)
    assert (found.pairs, found.ambiguous, found.by_order) == (pairs, ambiguous, [])


CODES = {
    "one removed": ([(5, "a"), (7, "b")], [(5, "b")], [(1, 0)], []),
    "one removed and one added": ([(4, "a"), (5, "b")], [(4, "b"), (5, "c")], [(1, 0)], []),
    "exchanged": ([(4, "a"), (5, "b")], [(4, "b"), (5, "a")], [(1, 0), (0, 1)], []),
    "one changed in its place": ([(4, "a"), (5, "b"), (6, "c")], [(4, "a"), (5, "x"), (6, "c")], "all", []),
    "two changed": ([(4, "a"), (5, "b")], [(4, "x"), (5, "y")], [], [((0, 1), (0, 1))]),
    "changed, and one more": ([(4, "a")], [(4, "x"), (5, "y")], [], [((0,), (0, 1))]),
    "the only one changed": ([(4, "a")], [(9, "x")], [(0, 0)], []),
    "as many alike": ([(4, "a"), (5, "a")], [(8, "a"), (9, "a")], "all", []),
    "alike and not as many": ([(4, "a"), (5, "a")], [(8, "a")], [], [((0, 1), (0,))]),
    "one of them not known": ([(4, "a"), (5, "")], [(6, "a"), (7, "")], "all", []),
}


@pytest.mark.parametrize(("base", "head", "pairs", "ambiguous"), CODES.values(), ids=CODES)
def test_functions_of_one_name_in_a_file_are_known_by_their_code(
    base: Any, head: Any, pairs: Any, ambiguous: Any
) -> None:
    found = paired(*([(LAMBDA, line, "a.py", code) for line, code in side] for side in (base, head)))
    assert found.pairs == ([(index, index) for index in range(len(base))] if pairs == "all" else pairs)
    assert (found.ambiguous, found.by_order) == (ambiguous, [])


def test_without_their_code_as_many_are_told_by_their_order_and_that_is_said() -> None:
    found = paired([(LAMBDA, 5, "a.py"), (LAMBDA, 1, "a.py")], [(LAMBDA, 3, "a.py"), (LAMBDA, 7, "a.py")])
    assert found.pairs == [(1, 0), (0, 1)]
    assert sorted(found.by_order) == sorted(found.pairs)
    assert paired([(LAMBDA, 1, "a.py"), (LAMBDA, 5, "a.py")], [(LAMBDA, 5, "a.py")]).ambiguous == [((0, 1), (0,))]


def test_codes_of_two_versions_of_python_do_not_compare() -> None:
    functions = [function(LAMBDA, 1, "a.py"), function(LAMBDA, 2, "a.py")]
    found = pair(functions, functions, ["3.11:a", "3.11:b"], ["3.12:c", "3.12:d"])
    assert found.pairs == found.by_order == [(0, 0), (1, 1)]


def test_written_functions_of_two_modules_are_two() -> None:
    sides = [[replace(function("C.f", 2, "<string>"), module=module) for module in modules] for modules in ("ab", "ba")]
    assert pair(*sides).pairs == [(1, 0), (0, 1)]


NAMES = st.tuples(
    st.sampled_from("fg"),
    st.integers(1, 4),
    st.sampled_from(["/a/x.py", "/b/x.py", "/a/c/x.py"]),
    st.sampled_from("ab"),
)


@given(st.lists(NAMES, unique_by=lambda it: it[:3]), st.lists(NAMES, unique_by=lambda it: it[:3]))
def test_no_function_has_two_partners_and_pairs_have_one_name(base: Any, head: Any) -> None:
    found = paired(base, head)
    for side in range(2):
        of_side = [each[side] for each in found.pairs] + [index for group in found.ambiguous for index in group[side]]
        assert len(set(of_side)) == len(of_side)
    assert all(base[old][0] == head[new][0] for old, new in found.pairs)


@given(st.lists(NAMES, unique_by=lambda it: it[:3]))
def test_what_is_compared_with_itself_is_paired_whole(side: Any) -> None:
    found = paired(side, side)
    assert sorted(new for _, new in found.pairs) == list(range(len(side)))
