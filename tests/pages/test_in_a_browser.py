"""The pages as they are used: in a real browser, by pointer and by keyboard, in the dark and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency.recording import Recording
from latency.report.compare import compare
from latency.report.html import render_html
from latency.report.page import SCRIPTS
from latency.report.picture import render_html as render_comparison
from latency.report.units import count, duration, number, percent
from tests.pages.browser import Opened, lacking, started
from tests.pages.made import HOSTILE, everything, many
from tests.requirements import require
from tests.unit.comparing import runs

pytestmark = pytest.mark.xdist_group("browser")

Open = Callable[..., Opened]
SERIOUS = ("serious", "critical")
AXE = """async () => {
    const found = await axe.run(document, { resultTypes: ["violations"] });
    return found.violations.map((each) => [each.impact, each.id, each.nodes.map((node) => node.html)]);
}"""
UNFOLD_ALL = """() => document.querySelectorAll("[aria-expanded=false]").forEach((each) => each.click())"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    require(not lacking(), lacking())
    with started() as browser:
        yield browser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    slower = {f"f{at}": 1e6 * (1 + at) for at in range(3)} | dict.fromkeys(HOSTILE, 1e6)
    base = {name: value / (1.1 if name == "f1" else 1) for name, value in slower.items()}
    pages = {
        "everything": render_html([everything()]),
        "one": render_html([one("handle_request")]),
        "two_runs": render_html([many(3), one("handle_request")]),
        "many": render_html([many(600)]),
        "compare": render_comparison(compare(runs(base), runs(slower, head=True))),
    }
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


def one(name: str) -> Recording:
    whole = everything()
    return replace(whole, functions=tuple(each for each in whole.functions if each.function.qualname == name))


@pytest.fixture
def show(browser: Any, files: Path) -> Iterator[Open]:
    opened: list[Opened] = []

    def show(name: str, **options: Any) -> Opened:
        opened.append(Opened(browser, files / f"{name}.html", **options))
        return opened[-1]

    yield show
    for each in opened:
        each.close()


def names(page: Any) -> list[str]:
    """Of the functions, as they stand in the table."""
    found: list[str] = page.locator("button.name").all_text_contents()
    return found


@pytest.mark.parametrize("name", ["everything", "one", "two_runs", "many", "compare"])
def test_a_page_asks_for_nothing_and_complains_of_nothing(name: str, show: Open) -> None:
    opened = show(name)
    opened.page.evaluate(UNFOLD_ALL)
    opened.page.locator("figure svg").first.wait_for()
    assert opened.complaints == []
    assert len(opened.requests) == 1


def test_a_column_sorts_by_a_click_and_by_a_key(show: Open) -> None:
    page = show("many").page
    heads = page.locator(".functions > thead th")
    page.get_by_role("button", name="calls").click()
    assert heads.nth(1).get_attribute("aria-sort") == "descending"
    assert names(page)[0] == "Class4.method_599"
    page.get_by_role("button", name="calls").press("Enter")
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    assert names(page)[0] == "Class0.method_0"
    page.get_by_role("button", name="function").press("Space")
    assert heads.nth(0).get_attribute("aria-sort") == "ascending"
    assert heads.nth(1).get_attribute("aria-sort") is None
    assert names(page) == sorted(names(page))


def test_what_is_not_known_is_sorted_last_either_way(show: Open) -> None:
    page = show("everything").page
    for _ in range(2):
        page.get_by_role("button", name="p99").click()
        assert set(names(page)[-2:]) == {"never", "gc start"}


def test_the_search_finds_names_and_places_by_any_words(show: Open) -> None:
    page = show("many").page
    search = page.get_by_label("Search")
    search.fill("METHOD_59 class")
    assert all("method_59" in name for name in names(page))
    assert page.locator(".tools output").text_content() == "11 of 600 functions"
    search.fill("module_599.py")
    assert names(page) == ["Class4.method_599"]
    search.fill("no such thing")
    assert names(page) == []
    search.fill("")
    assert page.locator(".tools output").text_content() == "600 functions"


def test_of_many_functions_more_are_shown_on_demand(show: Open) -> None:
    page = show("many").page
    assert len(names(page)) == 200
    page.get_by_role("button", name="and 400 more: show 200").click()
    page.get_by_role("button", name="and 200 more: show 200").click()
    assert len(set(names(page))) == 600
    assert not page.locator(".more").is_visible()


def test_a_function_unfolds_by_a_key_and_its_plots_tell_what_the_arrows_come_to(show: Open) -> None:
    page = show("everything").page
    button = page.get_by_role("button", name="handle_request", exact=True)
    assert button.get_attribute("aria-expanded") == "false"
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    detail = page.locator(f"#{button.get_attribute('aria-controls')}")
    figures = detail.locator("figure")
    detail.get_by_text("Heat map").wait_for()
    assert figures.count() == 4
    said = []
    for at in range(3):
        figures.nth(at).locator("svg").press("ArrowRight")
        figures.nth(at).locator("svg").press("ArrowRight")
        said.append(figures.nth(at).locator("output").text_content())
    assert re.fullmatch(r"[\d.]+ [µm]s – [\d.]+ [µm]s: \d+ calls?, .+ % of all; .+ % took no longer", said[0])
    assert re.fullmatch(r"[\d.]+ – [\d.]+ s: 100 calls, p50 .+ ms, p90 .+ ms, p99 .+ ms", said[1])
    assert re.fullmatch(r"[\d.]+ – [\d.]+ s, [\d.]+ .s – [\d.]+ .s: \d+ calls?", said[2])
    button.press("Enter")
    assert not detail.is_visible()


def test_the_pointer_tells_the_same(show: Open) -> None:
    page = show("one").page
    figure = page.locator("figure").first
    figure.locator(".bar").nth(20).hover(force=True)
    assert "% took no longer" in (figure.locator("output").text_content() or "")


def test_the_histogram_has_each_percentile_of_the_table(show: Open) -> None:
    page = show("one").page
    figure = page.locator("figure").first
    figure.wait_for()
    assert figure.locator("text.strong").all_text_contents() == ["p50", "p90", "p99"]


def test_a_slow_call_unfolds_with_its_arguments_and_callers(show: Open) -> None:
    page = show("everything").page
    button = page.locator("button.call").first
    fold = page.locator(f"#{button.get_attribute('aria-controls')}")
    assert not fold.is_visible()
    button.press("Enter")
    assert fold.locator(".values li").all_text_contents() == ["items=['handle_request']~", "password=<hidden>"]
    assert fold.locator("ol li").all_text_contents() == [
        "Handler.get /srv/app.py:17",
        "<unknown> ",
        "handle_request /srv/<main>.py:3 (its first line)",
    ]


@pytest.mark.parametrize("name", ["everything", "compare"])
def test_names_of_ill_will_are_text(name: str, show: Open) -> None:
    opened = show(name)
    page = opened.page
    page.evaluate(UNFOLD_ALL)
    assert page.title().startswith("pylat")
    assert page.locator("img, iframe, b:not(.call b), a").count() == 0
    assert page.locator("script").count() == 3
    assert "</script><img src=x onerror=alert(1)><!--<script>" in names(page)
    assert opened.complaints == []


def test_no_other_script_style_or_request_is_let_in(show: Open) -> None:
    opened = show("everything")
    for made in (
        "Object.assign(document.createElement('script'), { textContent: 'window.broken = 1' })",
        "Object.assign(document.createElement('style'), { textContent: 'main { display: none }' })",
        "Object.assign(new Image(), { src: 'x.png' })",
    ):
        opened.page.evaluate(f"() => document.body.append({made})")
    refused = opened.page.evaluate("() => fetch('x.json').then(() => false, () => true)")
    assert refused
    assert opened.page.evaluate("() => window.broken === undefined")
    assert opened.page.locator("main").is_visible()
    while sum("Content Security Policy" in each for each in opened.complaints) < 4:
        opened.page.wait_for_event("console")


def test_the_dark_is_dark(show: Open) -> None:
    shades = []
    for scheme in ("light", "dark"):
        color = show("one", color_scheme=scheme).page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        shades.append(sum(map(int, re.findall(r"\d+", color))))
    assert shades[0] > 700 > 100 > shades[1]


def test_on_paper_the_first_functions_and_all_slow_calls_are_unfolded(show: Open) -> None:
    page = show("everything").page
    page.emulate_media(media="print")
    assert not page.get_by_label("Search").is_visible()
    assert page.locator(".fold").first.is_visible()
    page.wait_for_function("() => document.documentElement.dataset.ready")
    page.evaluate(
        "() => addEventListener('afterprint', () => { window.printed = document.querySelectorAll('figure').length })"
    )
    assert page.pdf().startswith(b"%PDF")
    assert page.locator("button.name[aria-expanded=true]").count() == 5
    assert page.evaluate("() => window.printed") == 5 * 3 + 1


def test_on_paper_there_is_what_was_unfolded(show: Open) -> None:
    page = show("everything").page
    page.get_by_role("button", name="handle_request", exact=True).click()
    page.pdf()
    assert page.locator("button.name[aria-expanded=true]").all_text_contents() == ["handle_request"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["everything", "two_runs", "compare"])
def test_axe_finds_no_serious_fault(name: str, scheme: str, show: Open) -> None:
    import axe_playwright_python

    page = show(name, color_scheme=scheme).page
    page.evaluate(UNFOLD_ALL)
    page.locator("figure svg").first.wait_for()
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    found: Sequence[Any] = page.evaluate(AXE)
    assert [each for each in found if each[0] in SERIOUS] == []


@pytest.mark.parametrize("name", ["everything", "compare"])
def test_a_narrow_window_shows_all_of_it(name: str, show: Open) -> None:
    page = show(name, viewport={"width": 400, "height": 800}).page
    page.evaluate(UNFOLD_ALL)
    page.locator("figure svg").first.wait_for()
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 400


@pytest.mark.parametrize("name", ["everything", "compare"])
def test_without_scripts_there_is_the_text(name: str, show: Open) -> None:
    page = show(name, java_script_enabled=False).page
    text = page.locator("pre").text_content() or ""
    assert ("f1" if name == "compare" else "handle_request") in text
    assert HOSTILE[0][:20] in text


def test_a_comparison_shows_its_verdict_its_curves_and_how_much_each_quantile_moved(show: Open) -> None:
    page = show("compare").page
    assert page.locator("h2").text_content() == "1 slower, 8 same"
    assert names(page)[0] == "f1"
    detail = page.locator("tr.detail").first
    detail.get_by_text("How much each quantile moved").wait_for()
    assert detail.locator("figure").count() == 2
    moved = detail.locator("figure").nth(1)
    moved.locator("svg").press("ArrowRight")
    assert re.fullmatch(r"p1: \+1\d %, between \+.+ % and \+.+ %", moved.locator("output").text_content() or "")
    page.get_by_role("button", name="change").click()
    assert names(page)[0] == "f1"


def test_numbers_are_said_as_in_the_text(browser: Any) -> None:
    values: list[float] = [
        0.0,
        1.0,
        1.125,
        12.5,
        999.4,
        999.6,
        1125.0,
        1000.0,
        12345.0,
        999_499.0,
        999_500.0,
        1e6,
        2.5e8,
        1.5e12,
        3e19,
    ]
    values += [1.2345 * 10.0**power for power in range(-3, 16)]
    shares = [0.0, 0.00001, 0.0001, 0.012345, 0.125, 0.135, 0.5, 0.994, 0.995, 1.0, 12.345]
    counts = [0, 1, 999, 1000, 1_234_567, 999_999_999, 10**9, 1_234_567_890_123]
    page = browser.new_page()
    source = (Path(render_html.__code__.co_filename).parent / "page" / SCRIPTS[0]).read_text()
    say = "v.map((each) => duration(each)), v.map((each) => duration(each, 'us')), v.map(number)"
    said = page.evaluate(
        f"([v, s, c]) => {{ {source}; return [{say}, s.map(percent), c.map(count)]; }}", [values, shares, counts]
    )
    page.close()
    assert said == [
        [duration(value) for value in values],
        [duration(value, "us") for value in values],
        [number(value) for value in values],
        [percent(share) for share in shares],
        [count(value) for value in counts],
    ]
