"""A template renderer: a page with a table of so many rows. ``render`` is what to measure."""

from __future__ import annotations

import html
import re

from options import parse, sizes

_TYPICAL_ROWS = 12
_PLACE = re.compile(r"{{ *(\w+) *}}")
_PAGE = _PLACE.split("<title>{{ title }}</title><h1>{{ title }}</h1><table>{{ rows }}</table><p>{{ footer }}</p>")
_ROW = _PLACE.split("<tr><td>{{ number }}</td><td>{{ name }}</td><td>{{ note }}</td></tr>")


def filled(parts: list[str], values: dict[str, str]) -> str:
    """The template with its places filled: texts stand at even positions, names of places at odd ones."""
    return "".join(values[part] if position % 2 else part for position, part in enumerate(parts))


def render(title: str, rows: int) -> str:
    """One page."""
    table = [
        filled(_ROW, {"number": str(row), "name": html.escape(f"<row {row}>"), "note": html.escape('a "note" & more')})
        for row in range(rows)
    ]
    return filled(_PAGE, {"title": html.escape(title), "rows": "".join(table), "footer": f"{rows} rows"})


if __name__ == "__main__":
    for number, rows in enumerate(sizes(parse(__doc__, 2000), _TYPICAL_ROWS)):
        render(f"page {number}", rows)
