"""What is said of a comparison: readable, no wider than asked for, and harmless whatever a function is called."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from latency.histogram import Histogram
from latency.recording import FunctionLatency
from latency.report.compare import Comparison, compare
from latency.report.compare_export import (
    SUMMARY_BYTES,
    custom_smaller_is_better,
    markdown,
    render_github,
    render_json,
    render_markdown,
)
from latency.report.compare_gates import Gate
from latency.report.compare_text import interval, remarks, render_text, shift
from latency.report.picture import render_html
from tests.pages.read import Read
from tests.unit.comparing import function, run, runs

HOSTILE = "\x1b[2J\u202e|<img src=x onerror=alert(1)>`</code>\n@all [a](http://x) \udcff 計算" + "x" * 500


@pytest.fixture(scope="module")
def found() -> Comparison:
    base = {"handle_request": 1e6, "quick": 5e3, "calm": 1e6, "gone": 1.0}
    head = {"handle_request": 1.1e6, "quick": 4e3, "calm": 1e6, "new": 1.0}
    return compare(runs(base), runs(head, head=True, python="3.12.1"))


def hostile() -> Comparison:
    gates = [Gate.parse("p50:3%"), Gate.parse(f"{HOSTILE}=p90:3%"), Gate.parse("\x1b[31m*=mean:1ms")]
    base = {HOSTILE: 1e6, HOSTILE + "1": 1e6, "a" * 10**6: 1e3}
    return compare(runs(base, 5), runs({HOSTILE: 2e6, HOSTILE + "2": 1.0}, 5, head=True, engine=HOSTILE), gates)


def test_the_text_tells_the_verdict_the_numbers_and_the_doubts(found: Comparison) -> None:
    text = render_text(found)
    assert "base 10 runs, head 10 runs   gate p50:3%" in text
    assert "1 slower, 1 faster, 1 same" in text
    assert re.search(r"p50 +\d+ µs +1.\d\d ms +\+(9|10)\.\d % +\+\d+\.\d … \+\d+\.\d % +slower", text)
    assert "warning: Python is not the same" in text
    assert "only in base: gone (/srv/app/views.py:1)" in text
    assert "only in head: new (/srv/app/views.py:1)" in text


def test_an_inconclusive_verdict_says_how_many_runs_would_do() -> None:
    text = render_text(compare(runs({"f": 1e6}, 5, wobble=20), runs({"f": 1e6}, 5, head=True, wobble=20)))
    assert re.search(r"inconclusive, (~\d+|>1,000) runs", text)


def test_too_few_runs_are_told() -> None:
    text = render_text(compare(runs({"f": 1e6}, 3), runs({"f": 1e6}, 3, head=True)))
    assert "3 runs on a side: described, not judged" in text


def test_a_gate_for_nothing_is_told() -> None:
    text = render_text(compare(runs({"f": 1e6}), runs({"f": 1e6}, head=True), [Gate.parse("nope=p50:3%")]))
    assert "warning: gate nope=p50:3% is for no function" in text


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("color", [False, True])
def test_no_line_is_wider_than_asked_for(width: int, color: bool, found: Comparison) -> None:
    for comparison in (found, hostile()):
        lines = re.sub(r"\x1b\[[0-9;]*m", "", render_text(comparison, width=width, color=color)).splitlines()
        assert max(map(cell_len, lines)) <= width


def test_only_the_first_functions_are_shown() -> None:
    many = {f"f{index}": 1e6 for index in range(30)}
    text = render_text(compare(runs(many, 5), runs(many | {"f7": 2e6}, 5, head=True)), top=3)
    assert "… and 27 more" in text
    assert text.index("f7") < text.index("… and")


def test_a_hostile_name_moves_no_cursor() -> None:
    text = render_text(hostile())
    assert not {"\x1b", "\u202e", "\udcff"} & set(text)
    assert "\\x1b[2J" in text


class Tags(HTMLParser):
    """Which tags a text has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.add(tag)


@pytest.mark.parametrize("render", [render_markdown, render_github])
def test_a_hostile_name_is_no_markup_in_markdown(render: object) -> None:
    text = render(hostile())  # type: ignore[operator]
    assert Tags(text).found <= {"code", "details", "summary"}
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert "](" not in text
    assert "@" not in text
    text.encode()


def test_markdown_escapes_what_could_be_markup() -> None:
    assert markdown("a_b*c|d") == "a\\_b\\*c&#124;d"


def test_github_shows_what_needs_a_look_and_folds_the_rest(found: Comparison) -> None:
    open_part, folded = render_github(found).split("<details>")
    assert "handle\\_request" in open_part
    assert "calm" in folded
    assert "calm" not in open_part


def test_a_step_summary_is_never_too_large() -> None:
    many = {f"f{index}{'|' * 400}": 1e6 for index in range(400)}
    text = render_github(compare(runs(many, 5), runs(many, 5, head=True)), top=10**9)
    assert len(text.encode()) <= SUMMARY_BYTES


def test_json_holds_everything_and_is_ascii(found: Comparison) -> None:
    document = json.loads(render_json(found))
    assert document["schema"] == "pylat-compare/1"
    assert document["exit_status"] == {"default": 1, "strict": 1}
    assert document["verdicts"]["slower"] == 1
    (slow,) = (each for each in document["functions"] if each["qualname"] == "handle_request")
    assert slow["verdict"] == "slower"
    assert slow["changes"][0]["gate"] == "p50:3%"
    assert slow["changes"][0]["p_adjusted"] < 0.05
    assert [each["qualname"] for each in document["base"]["only_here"]] == ["gone"]
    assert render_json(hostile()).isascii()


def test_a_chart_has_one_series_for_each_gated_statistic(found: Comparison) -> None:
    entries = json.loads(custom_smaller_is_better(found))
    assert {each["name"] for each in entries} == {"handle_request p50", "quick p50", "calm p50"}
    assert all(each["unit"] == "ns" and each["value"] > 0 for each in entries)


def test_series_of_functions_of_one_name_are_told_apart() -> None:
    two = [function("f", 1, "a.py"), function("f", 1, "b.py")]
    walls = [Histogram.from_values([10**6])] * 2
    sides = [
        [
            run([FunctionLatency(f, 1, 0, wall) for f, wall in zip(two, walls, strict=True)], at + turn)
            for turn in range(5)
        ]
        for at in (0, 100)
    ]
    names = [each["name"] for each in json.loads(custom_smaller_is_better(compare(*sides)))]
    assert len(set(names)) == 2


def test_the_page_is_small_and_needs_nothing_else(found: Comparison) -> None:
    page = render_html(found)
    assert len(page.encode()) < 60_000
    assert not {"link", "img", "iframe"} & Tags(page).found
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_the_page_has_all_that_the_text_says_and_the_numbers_of_the_pictures(found: Comparison) -> None:
    read = Read(render_html(found))
    assert read.text(tag="pre") == render_text(found, width=100)
    assert read.shown["verdicts"] == "1 slower, 1 faster, 1 same"
    assert [sentence for sentence, _ in read.shown["said"]] == [*remarks(found)]
    (slower, *_) = read.shown["functions"]
    assert slower["name"] == "handle_request"
    assert slower["cells"][-1] == "slower"
    assert len(read.details) == len(read.shown["functions"]) == 3
    assert read.details[0]["rows"][0] == slower["cells"]
    assert read.details[0]["limits"] == [0.03]
    curves = read.details[0]["curves"]
    assert np.allclose(np.log(np.divide(curves["head"], curves["base"])), np.log(1.1), atol=0.02)
    assert np.allclose(curves["shift"], np.log(1.1), atol=0.02)
    assert all(value > 0 for value in curves["half"])


def test_a_page_of_very_many_functions_draws_the_first_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latency.report.picture.MOST_DRAWN", 2)
    read = Read(render_html(compare(runs(names := {f"f{at}": 1e6 for at in range(5)}), runs(names, head=True))))
    assert len(read.shown["functions"]) == 5
    assert ["curves" in each for each in read.details] == [True, True, False, False, False]
    assert read.shown["note"] == "without pictures: the last 3"


def test_a_hostile_name_is_no_markup_in_the_page() -> None:
    page = render_html(hostile())
    assert {"img", "a", "code"}.isdisjoint(Tags(page).found)
    assert page.count("</script>") == page.lower().count("<script") == 3
    assert not {"\x1b", "\u202e"} & set(page)
    assert any("<img src=x" in each["name"] for each in Read(page).shown["functions"])
    page.encode()


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 2**60), min_size=1, max_size=4), min_size=2, max_size=12))
def test_any_latencies_can_be_shown(calls_ns: list[list[int]]) -> None:
    walls = [Histogram.from_values(each) for each in calls_ns]
    sides = [run([FunctionLatency(function("f"), wall.count, 0, wall)], at) for at, wall in enumerate(walls)]
    comparison = compare(sides[::2], sides[1::2])
    assert max(map(cell_len, render_text(comparison).splitlines())) <= 80
    assert not re.search(r"\bnan\b|\binf\b", render_html(comparison))
    json.loads(render_json(comparison))
    assert render_github(comparison)
    assert np.isfinite([change.shift for change in comparison.functions[0].changes]).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.109, "+10.9 %"),
        (-0.2, "-20.0 %"),
        (0.0, "+0.0 %"),
        (-1e-9, "+0.0 %"),
        (3.5, "+350 %"),
        (11.3, "×12.3"),
        (float("inf"), "×inf"),
    ],
)
def test_a_change_in_words(value: float, text: str) -> None:
    assert shift(value) == text


def test_an_interval_in_words() -> None:
    assert interval((-0.012, 0.034)) == "-1.2 … +3.4 %"
    assert interval(None) == "-"
