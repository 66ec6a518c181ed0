"""The table of functions: its columns, which of them have room, the order of the rows, and the text of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from latency.histogram import Counts, Floats
from latency.live.ledger import Columns
from latency.recording import Function
from latency.report.names import escape
from latency.report.units import count, duration, estimate, number, percent

_LEAST_NAME, _LONGEST_NAME = 14, 200
_LEAST_S = 1e-9


@dataclass(frozen=True)
class Column:
    """One of the columns of numbers.

    Attributes:
        title: its head.
        width: cells, the gap before it included.
        about: what it says, for the help.
        values: of each row, for the order; nan where there is none.
        needs: ``"split"`` or ``"own"`` where it was asked for only with an option; else ``""``.
    """

    title: str
    width: int
    about: str
    values: Callable[[Columns], Floats]
    needs: str = ""


def _percentile(q: float) -> Callable[[Columns], Floats]:
    return lambda columns: columns.percentiles_ns([q])[0][:, 0]


def _sum(name: str) -> Callable[[Columns], Floats]:
    return lambda columns: np.where(columns.calls > 0, columns.numbers[name], np.nan)


def _share(part: str, whole: str) -> Callable[[Columns], Floats]:
    def of(columns: Columns) -> Floats:
        wholes = columns.numbers[whole].astype(np.float64)
        # The two are not read at one moment.
        shares = np.minimum(columns.numbers[part] / np.maximum(wholes, 1), 1.0)
        found: Floats = np.where(wholes > 0, shares, np.nan)
        return found

    return of


PERCENTILES = {"p50": 0.5, "p99": 0.99}
COLUMNS = {
    "calls": Column(
        "calls/s",
        10,
        "calls that ended, each second",
        lambda it: it.calls / max(it.seconds, _LEAST_S),
    ),
    "p50": Column("p50", 10, "half of the calls took no longer", _percentile(0.5)),
    "p99": Column("p99", 10, "99 % of the calls took no longer", _percentile(0.99)),
    "max": Column("max", 10, "the longest", _sum("max_ns")),
    "errors": Column("errors", 9, "calls that raised", lambda it: it.numbers["raised"].astype(np.float64)),
    "total": Column("total", 10, "time inside, callees included, waits of generators not", _sum("busy_ns")),
    "self": Column("self", 9, "of that, outside of other measured calls", _share("self_ns", "busy_ns"), "own"),
    "off": Column("off-CPU", 9, "of the time, off the CPU", _share("off_cpu_ns", "divided_ns"), "split"),
}
"""By the name under which each is chosen, in the order in which they stand."""
_SPARE = ("errors", "p50", "max", "off", "self", "total", "calls", "p99")
"""Where there is no room for all, these go first, but for the one by which the rows stand."""


def fitting(width: int, *, split: bool, own: bool, sort: str) -> list[str]:
    """The names of the columns that have room in so many cells, beside those of a function's name."""
    asked = {"split": split, "own": own, "": True}
    names = [name for name, column in COLUMNS.items() if asked[column.needs]]
    for spare in _SPARE:
        if sum(COLUMNS[name].width for name in names) + _LEAST_NAME <= width:
            break
        if spare in names and spare != sort:
            names.remove(spare)
    return names


def ordered(columns: Columns, sort: str, *, ascending: bool, text: str = "") -> Counts:
    """The rows in the order of a column, those without a value last, those of one value by name.

    Args:
        text: those only that hold it, whatever its case, in their name or file.
    """
    rows = np.arange(len(columns.functions))
    if text:
        wanted = text.lower()
        rows = rows[[wanted in f"{it.qualname}\0{it.source}:{it.line}".lower() for it in columns.functions]]
    if sort == "name":
        names = sorted(rows.tolist(), key=lambda row: columns.functions[row].qualname, reverse=not ascending)
        return np.array(names, np.int64)
    values = COLUMNS[sort].values(columns)[rows]
    keys = np.where(np.isnan(values), np.inf, values if ascending else -values)
    return rows[np.lexsort((rows, keys))]


def name(function: Function, width: int) -> tuple[str, str]:
    """(its name, where it is), in so many cells together; the second is empty where there is no room for it."""
    wide = min(width, _LONGEST_NAME)
    said = escape(function.qualname, wide)
    room = width - len(said) - 2
    where = f":{function.line}" if function.line else ""
    return said, escape(function.source, room - len(where)) + where if room - len(where) >= 8 else ""


def cells(columns: Columns, rows: Counts, names: Sequence[str], unit: str | None) -> list[list[str]]:
    """The texts of these rows, one for each of these columns."""
    numbers = columns.numbers[rows]
    calls = columns.calls[rows]
    texts: dict[str, list[str]] = {}
    wanted = [each for each in PERCENTILES if each in names]
    if wanted:
        values, least = columns.percentiles_ns([PERCENTILES[each] for each in wanted], rows)
        errors = numbers["error_ns"].tolist()
        for at, each in enumerate(wanted):
            triples = zip(values[:, at].tolist(), least[:, at].tolist(), errors, strict=True)
            texts[each] = [estimate(ns, least_ns, unit, error_ns) for ns, least_ns, error_ns in triples]
    seconds = columns.seconds
    for each in names:
        if each == "calls":
            texts[each] = [number(it / seconds) if seconds and it else "-" for it in calls.tolist()]
        elif each == "errors":
            texts[each] = [count(it) if it else "-" for it in numbers["raised"].tolist()]
        elif each in ("self", "off"):
            shares = COLUMNS[each].values(columns)[rows].tolist()
            texts[each] = ["-" if isnan(it) else percent(it) for it in shares]
        elif each not in texts:
            of = "max_ns" if each == "max" else "busy_ns"
            pairs = zip(numbers[of].tolist(), calls.tolist(), strict=True)
            texts[each] = [duration(ns, unit) if any_ else "-" for ns, any_ in pairs]
    return [list(row) for row in zip(*(texts[each] for each in names), strict=True)]
