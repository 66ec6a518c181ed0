"""How soon a report as a page can be used, in the distribution's Chromium, and how large it is.

The recordings are made up: real functions differ in how far their latencies spread, and so does what a page holds.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.keeping import Goal, Part, Settings, Spread, Values, table
from latency.recording import Recording
from latency.report.html import render_html
from tests.pages.browser import lacking, started
from tests.pages.made import many

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_ROUNDS = 9
_SIZES = (200, 2000, 10_000)
_CALLS = 3000  # of each function, about
_PROMISED = 2000
_WRITE, _SORT, _UNFOLD = "written", "sorted", "unfolded"
_STEPS = {
    _WRITE: "`render_html()`",
    _SORT: "in the browser, from opening the file until a sort that is asked for at once is on the screen",
    _UNFOLD: "and until the plots of the first function are",
}
# asks for both as soon as there is anything to ask for, and says when the screen shows it, milliseconds
_ASK = """
const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
addEventListener("DOMContentLoaded", async () => {
    document.querySelectorAll("thead button")[6].click();
    await drawn();
    const sorted = performance.now();
    document.querySelector("button.name").click();
    while (document.querySelectorAll("figure").length < 2) await drawn();
    window.times = { sorted, unfolded: performance.now() };
});
"""


def measure(settings: Settings) -> Values:
    """Each step as often as there are rounds, the sizes in turns."""
    if lacking():
        raise RuntimeError(lacking())
    runs = {size: many(size, _CALLS) for size in _SIZES}
    seconds: dict[int, dict[str, list[float]]] = {size: {name: [] for name in _STEPS} for size in _SIZES}
    sizes: dict[int, int] = {}
    version = ""
    with tempfile.TemporaryDirectory(prefix="pylat-page-") as folder, started() as browser:
        version = browser.version
        for number in range(settings.rounds_or(_ROUNDS)):
            settings.progress(f"page: round {number + 1}")
            for size, recording in runs.items():
                file = Path(folder) / f"{size}.html"
                seconds[size][_WRITE].append(_written(recording, file))
                sizes[size] = file.stat().st_size
                for name, value in _opened(browser, file).items():
                    seconds[size][name].append(value)
    return {
        "browser": version,
        "functions": list(_SIZES),
        "bytes": [sizes[size] for size in _SIZES],
        "seconds": [seconds[size] for size in _SIZES],
    }


def _written(recording: Recording, file: Path) -> float:
    begin = time.perf_counter()
    page = render_html([recording])
    took_s = time.perf_counter() - begin
    file.write_text(page, encoding="utf-8")
    return took_s


def _opened(browser: Browser, file: Path) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.add_init_script(_ASK)
    page.goto(file.as_uri())
    page.wait_for_function("() => window.times")
    times_ms: dict[str, float] = page.evaluate("() => window.times")
    page.close()
    return {name: ms / 1e3 for name, ms in times_ms.items()}


def tables(values: Values) -> str:
    """One row for each size."""
    rows = [
        [f"{functions:,}", f"{size / 1e3:,.0f} kB", *(f"{Spread.of(seconds[name]):.2f} s" for name in _STEPS)]
        for functions, size, seconds in zip(values["functions"], values["bytes"], values["seconds"], strict=True)
    ]
    what = "\n".join(f"- {name}: {text}" for name, text in _STEPS.items())
    about = (
        f"Chromium {values['browser']}; made-up recordings of functions of some {_CALLS:,} calls each, log-normal, "
        f"most of them within a factor of 16.\n\n{what}\n\n"
    )
    return about + table(("functions", "page", *_STEPS), rows)


def goals(values: Values) -> list[Goal]:
    """What was promised of 2,000 functions."""
    seconds = Spread.of(values["seconds"][values["functions"].index(_PROMISED)][_SORT])
    kilobytes = values["bytes"][0] / 1e3
    return [
        Goal(f"a page of {_PROMISED:,} functions can be used", "within 1 s", f"{seconds:.2f} s", seconds.middle <= 1),
        Goal(f"a page of {_SIZES[0]} functions", "below 300 kB", f"{kilobytes:.0f} kB", kilobytes < 300),
    ]


PART = Part("page", "How soon a page can be used", measure, tables, goals=goals)
