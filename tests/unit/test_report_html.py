"""A recording as one HTML page: what the page is made of."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency.recording import HIDDEN, FunctionLatency, Owners, dumps, loads
from latency.recording.parts import Parts
from latency.report import page as page_parts
from latency.report.html import heat, render_html
from latency.report.summary import by_time
from tests.pages.made import HOSTILE, everything, many, sliced
from tests.pages.read import Read
from tests.unit.comparing import run
from tests.unit.test_report_markers import GC, IMPORTS, event, marker, recording


@pytest.fixture(scope="module")
def page() -> str:
    return render_html([everything()])


def test_the_page_holds_the_report_for_who_has_no_scripts(page: str) -> None:
    text = Read(page).text(tag="pre")
    assert "handle_request" in text
    assert "calls slower than 10ms" in text
    assert "lost 3 too_deep" in text


def test_nothing_in_it_is_loaded_from_elsewhere(page: str) -> None:
    read = Read(page)
    assert {tag for tag, _ in read.tags} == {
        *("html", "head", "meta", "title", "style", "body", "main", "noscript", "pre", "script")
    }
    assert not any({"src", "href", "style"} & set(attributes) for _, attributes in read.tags)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_the_policy_lets_in_one_script_and_one_style_and_no_more(page: str) -> None:
    read = Read(page)
    (policy,) = [it["content"] for tag, it in read.tags if it.get("http-equiv") == "Content-Security-Policy"]
    kinds = [attributes.get("type") for tag, attributes in read.tags if tag == "script"]
    assert kinds == ["application/json", "text/plain", None]
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, read.text(tag="style"))
    ]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("resource", page_parts.SCRIPTS)
def test_the_script_makes_no_markup_and_runs_no_text(resource: str) -> None:
    text = (Path(page_parts.__file__).parent / resource).read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|srcdoc"
        r"|eval\(|Function\(|set(Timeout|Interval)|import\(",
        text,
    )


def test_every_resource_is_in_the_page(page: str) -> None:
    for path in Path(page_parts.__file__).parent.iterdir():
        if path.suffix in (".js", ".css"):
            assert path.read_text(encoding="utf-8") in page


def test_a_hostile_name_is_in_the_data_alone_and_can_end_nothing(page: str) -> None:
    read = Read(page)
    data = read.text(id="shown")
    assert not set("<>&\u2028\u2029") & set(data)
    assert page.count("</script>") == 3
    assert page.lower().count("<script") == 3
    assert "<!--" not in page
    names = [each["name"] for each in read.shown["runs"][0]["functions"]]
    assert HOSTILE[0] in names
    assert HOSTILE[3] in names
    assert "\\x1b[2J\\u202e\\u2028\\udcff\\x00" in names
    page.encode()


def test_control_characters_of_a_target_are_shown_as_codes(page: str) -> None:
    assert not set(re.findall(r"[^\n -~]", page)) - set("µ±×–…≥·▸▾▲▼█▏▎▍▌▋▊▉")


def test_no_text_of_a_target_is_packed() -> None:
    whole = everything()
    marked = replace(
        whole,
        functions=tuple(
            replace(
                each,
                function=replace(each.function, qualname="TARGET", filename="TARGET"),
                owners=Owners(2, ("TARGET",)),
            )
            for each in whole.functions
        ),
        target=replace(whole.target, command="TARGET", choice="TARGET", engine="TARGET"),
        options=replace(whole.options, func=("TARGET",)),
    )
    page = render_html([marked])
    assert "TARGET" in page
    assert "TARGET" not in repr(Read(page).details)


def test_what_the_recording_hides_is_hidden(page: str) -> None:
    calls = Read(page).shown["runs"][0]["slow"]["calls"]
    assert all(f"password={HIDDEN}" in each["arguments"] for each in calls)


def test_all_functions_are_in_the_page_the_busiest_first_and_top_of_them_in_the_text() -> None:
    recording = many(30)
    read = Read(render_html([recording], top=3))
    functions = read.shown["runs"][0]["functions"]
    totals = [each["keys"][-1] for each in functions]
    assert len(functions) == 30
    assert totals == sorted(totals, reverse=True)
    assert "… and 27 more" in read.text(tag="pre")


def test_what_is_shown_is_what_the_text_says() -> None:
    recording = everything()
    read = Read(render_html([recording], unit="ms"))
    text = re.sub(r"\s+", " ", read.text(tag="pre"))
    (shown,) = read.shown["runs"]
    (serve,) = [each for each in shown["functions"] if each["name"] == "handle_request"]
    assert " ".join(serve["cells"][:8]) in text
    assert all(sentence in text for sentence, _ in shown["said"][:2])
    assert shown["slow"]["heading"] in text


def test_each_call_is_in_one_cell_of_the_heat_map() -> None:
    latency = sliced(spread=0.3)
    (_, (parts, together), _, (first, per_octave, rows, packed)) = Read(render_html([run([latency])])).details[0][0][
        "plots"
    ]
    cells = np.reshape(packed, (rows, -1))
    assert (parts, together, per_octave) == (30, 1, 4)
    assert cells.sum(axis=0).tolist() == [part.count for part in latency.slices]
    low, high = 1e9 * 2.0 ** ((first - 1) / 4), 1e9 * 2.0 ** ((first + rows - 1) / 4)
    assert low < latency.wall.min_ns <= latency.wall.max_ns <= high * (1 + 1e-9)
    assert cells[0].any()
    assert cells[-1].any()


@pytest.mark.parametrize("most", [12, 24])
def test_a_heat_map_of_many_powers_of_two_has_coarser_rows(most: int) -> None:
    latency = sliced(spread=2.0)
    matrix = Parts.of(latency.slices, latency.wall).matrix
    _, cells, per_octave = heat(matrix, latency.wall, most)
    assert len(cells) <= most or per_octave == 1
    assert per_octave < 4
    assert cells.sum() == 3000


def test_of_many_functions_several_parts_of_the_time_are_drawn_together() -> None:
    recording = many(200, parts=47)
    for latency, detail in zip(by_time(recording.functions), Read(render_html([recording])).details[0], strict=True):
        _, split, (calls, *_), (_, _, rows, cells) = detail["plots"]
        assert split == [47, 2]
        assert len(calls) == 24
        assert calls[-1] == latency.slices[-1].count
        assert np.reshape(cells, (rows, 24)).sum(axis=0).tolist() == calls


def test_percentiles_over_time_are_those_of_each_part() -> None:
    latency = with_a_gap(sliced())
    read = Read(render_html([run([latency])]))
    _, _, (calls, *moved), _ = read.details[0][0]["plots"]
    values = 2 ** (np.cumsum(moved, axis=1) / read.shown["steps"])
    assert calls == [part.count for part in latency.slices]
    kept = Parts.of(latency.slices, latency.wall)  # which knows of the extremes of each part no more than their buckets
    wanted = np.array([part.quantiles((0.5, 0.9, 0.99)) for part in kept if part.count]).T
    assert np.allclose(values, wanted, rtol=0.004)


def with_a_gap(latency: FunctionLatency) -> FunctionLatency:
    """The same, as if nothing had been called for two parts of the time."""
    empty = type(latency.wall).empty()
    parts = (*latency.slices[:10], empty, empty, *latency.slices[12:])
    wall = parts[0].merge(*parts[1:])
    return FunctionLatency(latency.function, wall.count, 0, wall, slices=parts)


def test_of_a_saved_recording_the_page_is_the_same() -> None:
    recording = everything()
    recordings = loads(dumps([recording]))
    assert render_html(recordings) == render_html(loads(dumps(recordings)))
    assert len(Read(render_html(recordings)).details[0]) == len(recording.functions)


def test_markers_have_their_own_columns_and_words() -> None:
    (imports,) = Read(render_html([recording(*IMPORTS, asked=("imports",))])).shown["runs"]
    assert imports["heads"] == ["calls", "failed", "mean", "p50", "p90", "p99", "max", "total", "own"]
    assert [each["name"] for each in imports["functions"]] == ["app", "app.views", "no_such_module"]
    assert imports["functions"][0]["cells"][-1] == "9.00 ms"
    assert imports["functions"][0]["keys"][-2:] == [9 * 10**6, 10**6]
    assert imports["note"].startswith("own: ")


def test_an_event_has_calls_and_no_latency() -> None:
    read = Read(render_html([recording(event("open", 40), asked=("audit",))]))
    (shown,) = read.shown["runs"]
    assert shown["functions"][0]["cells"] == ["40", *(["-"] * 7)]
    assert read.details == [[{"facts": ["40 times  (4.00/s)"]}]]


def test_of_a_collector_the_page_says_what_it_freed() -> None:
    pauses = recording(marker("gc [generation 2]", GC, [10**6] * 20), events={"gc [generation 2] collected": 2000})
    assert "collected 2,000" in Read(render_html([pauses])).details[0][0]["facts"]


def test_a_recording_of_nothing_has_a_page() -> None:
    assert Read(render_html([run([])])).shown["runs"][0]["functions"] == []


@pytest.mark.parametrize(("calls", "parts"), [(300, 30), (3000, 59), (30_000, 59)])
def test_two_hundred_functions_take_less_than_300_kb(calls: int, parts: int) -> None:
    assert len(render_html([many(200, calls, parts)]).encode()) < 300_000
