"""A recording as one HTML page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np

from latency.histogram import Histogram
from latency.recording import Function, FunctionLatency
from latency.report.html import MAPS, heat, render_html
from tests.unit.comparing import run


def sliced(name: str = "handle_request", calls: int = 3000) -> FunctionLatency:
    values = np.exp(np.random.default_rng(1).normal(14, 1, calls)).astype(np.int64)
    parts = tuple(Histogram.from_values(part) for part in np.array_split(values, 30))
    wall = Histogram.from_values(values)
    return FunctionLatency(Function(name, "/srv/app.py", 1), wall.count, 0, wall, slices=parts)


class Tags(HTMLParser):
    """Which tags there are, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_the_report_and_a_heat_map_and_nothing_to_load_or_run() -> None:
    page = render_html([run([sliced()])])
    tags = Tags()
    tags.feed(page)
    assert "handle_request" in tags.text
    assert "calls 3,000" in tags.text
    assert tags.tags.count("svg") == 1
    assert not {"script", "link", "img", "iframe"} & set(tags.tags)
    assert "http" not in page


def test_a_hostile_name_stays_text() -> None:
    tags = Tags()
    tags.feed(render_html([run([sliced("</pre><script>alert(1)</script>\x1b[2J")])]))
    assert "script" not in tags.tags
    assert "\x1b" not in tags.text


def test_each_call_is_in_one_cell_of_the_heat_map() -> None:
    latency = sliced()
    first, cells, per_octave = heat(latency)
    assert per_octave == 4
    assert cells.sum() == 3000
    assert cells.shape[1] == 30
    low, high = 1e9 * 2.0 ** ((first - 1) / 4), 1e9 * 2.0 ** ((first + len(cells) - 1) / 4)
    assert low < latency.wall.min_ns <= latency.wall.max_ns <= high * (1 + 1e-9)
    drawn = re.findall(r"<title>([\d,]+)</title></rect>", render_html([run([latency])]))
    assert sum(int(each.replace(",", "")) for each in drawn) == 3000


def test_only_the_busiest_functions_are_drawn() -> None:
    page = render_html([run([sliced(f"f{number}") for number in range(MAPS + 3)])])
    assert page.count("<svg") == MAPS
