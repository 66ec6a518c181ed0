"""The figures of the results, by matplotlib (the extra ``bench``): small SVG files with text as text."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.keeping import Spread

_COLORS = ("#33658a", "#f26419", "#758e4f", "#86647f", "#f6ae2d", "#2f4858")
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pylat",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "figure.constrained_layout.use": True,
}


def bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[Spread | None]],
    axis: str,
    *,
    scale: float = 1.0,
    logarithmic: bool = False,
    limit: float | None = None,
) -> Any:
    """Horizontal bars in groups, one group for each name; the lines at their ends are the quartiles.

    Args:
        series: for each colour, one number for each name.
        scale: the numbers are multiplied by it.
        limit: where to draw a line across: what was promised.
    """
    with _style() as plt:
        height = 0.8 / len(series)
        figure, axes = plt.subplots(figsize=(7.5, 0.6 + len(names) * (0.18 + 0.14 * len(series))))
        for number, (label, spreads) in enumerate(series.items()):
            there = [(place, spread) for place, spread in enumerate(spreads) if spread]
            middles = [spread.middle * scale for _, spread in there]
            errors = [
                [(spread.middle - spread.low) * scale for _, spread in there],
                [(spread.high - spread.middle) * scale for _, spread in there],
            ]
            places = [place + (number - (len(series) - 1) / 2) * height for place, _ in there]
            axes.barh(
                places, middles, height * 0.9, xerr=errors, label=label, color=_COLORS[number % len(_COLORS)],
                error_kw={"linewidth": 0.8},
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(axis)
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        if limit is not None:
            axes.axvline(limit, color="black", linewidth=0.8, linestyle="--")
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8)
        return figure


def lines(panels: Mapping[str, Mapping[str, Mapping[int, Spread]]], axis: str, *, scale: float = 1.0) -> Any:
    """Panels side by side, each with lines over a logarithmic number; bands are the quartiles.

    Args:
        panels: for each panel, for each line, a number for each place on the horizontal axis.
    """
    with _style() as plt:
        columns = min(2, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure, grid = plt.subplots(rows, columns, figsize=(7.5, 2.6 * rows), squeeze=False, sharey=True)
        for axes, (title, series) in zip(grid.flat, panels.items(), strict=False):
            for number, (label, points) in enumerate(series.items()):
                places, spreads = list(points), list(points.values())
                color = _COLORS[number % len(_COLORS)]
                middles = [spread.middle * scale for spread in spreads]
                axes.plot(places, middles, marker="o", markersize=3, color=color, label=label)
                low, high = [spread.low * scale for spread in spreads], [spread.high * scale for spread in spreads]
                axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
            axes.set_xscale("log")
            axes.set_xticks(places, [f"{place:,}" for place in places])
            axes.minorticks_off()
            axes.set_title(title, fontsize=9)
        for row in grid:
            row[0].set_ylabel(axis)
        grid.flat[0].set_ylim(bottom=0)  # of all: they share it
        grid.flat[0].legend(frameon=False, fontsize=8)
        for axes in list(grid.flat)[len(panels) :]:
            axes.remove()
        return figure


def svg(figure: Any) -> str:
    """The figure as the text of a file, the same for the same numbers."""
    import matplotlib.pyplot as plt

    out = io.StringIO()
    with _style():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


class _style:
    """matplotlib.pyplot in this house's style, while a figure is made or written."""

    def __enter__(self) -> Any:
        import matplotlib as mpl

        mpl.use("svg")
        import matplotlib.pyplot as plt

        self._context = mpl.rc_context(_STYLE)
        self._context.__enter__()
        return plt

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)
