"""Gates: which statistic of which functions may become how much slower."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf, log1p

from latency.errors import UsageError
from latency.recording import Function
from latency.report.units import UNITS_NS

_GATE = re.compile(r"(mean|p[0-9]{1,2}(?:\.[0-9]{1,3})?):([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(%|ns|us|µs|ms|s)", re.ASCII)
_GLOB = frozenset("*?[")
_HINT = "write p50:3%, p90:5% or mean:1ms; for some functions only, handle_*=p50:3%"


def quantile_of(statistic: str) -> float | None:
    """``"p99.9"`` -> ``0.999``; None for the mean."""
    return None if statistic == "mean" else float(statistic[1:]) / 100


@dataclass(frozen=True, slots=True)
class Gate:
    """The least change of a statistic that matters.

    Attributes:
        statistic: ``p50``, ``p99.9`` ... or ``mean``.
        ratio: as a share of the base, 0.03 for 3 %; or
        amount_ns: in nanoseconds. One of the two is None.
        pattern: of the functions it is for: a name or qualname, with ``*`` and ``?``, after ``FILE:`` or ``MODULE:``
            if wanted; None for every function.
    """

    statistic: str
    ratio: float | None = None
    amount_ns: float | None = None
    pattern: str | None = None

    @classmethod
    def parse(cls, text: str) -> Gate:
        """``p50:3%``, ``mean:1ms``, or of some functions ``handle_*=p50:3%``, ``views.py:Api.*=p90:5%``.

        Raises:
            UsageError: it is none of these.
        """
        pattern, equals, rule = text.rpartition("=")
        found = _GATE.fullmatch(rule.strip())
        if found is None or (equals and not pattern.strip()):
            raise UsageError(f"not a gate: {text!a:.60}", _HINT)
        statistic, value, unit = found[1], float(found[2]), found[3]
        if not value or statistic in ("p0", "p00"):
            raise UsageError(f"a gate needs a statistic and a limit above zero: {text!a:.60}", _HINT)
        statistic = statistic if statistic == "mean" else f"p{float(statistic[1:]):g}"
        of = pattern.strip() if equals else None
        if unit == "%":
            return cls(statistic, ratio=value / 100, pattern=of)
        return cls(statistic, amount_ns=value * UNITS_NS[unit.replace("µ", "u")], pattern=of)

    @property
    def limit(self) -> str:
        """``3 %`` or ``1 ms``."""
        if self.ratio is not None:
            return f"{100 * self.ratio:g} %"
        amount_ns = self.amount_ns or 0.0
        unit = max((unit for unit in UNITS_NS if UNITS_NS[unit] <= amount_ns), key=UNITS_NS.__getitem__, default="ns")
        return f"{amount_ns / UNITS_NS[unit]:g} {unit}"

    def __str__(self) -> str:
        rule = f"{self.statistic}:{self.limit.replace(' ', '')}"
        return rule if self.pattern is None else f"{self.pattern}={rule}"

    def matches(self, function: Function) -> bool:
        """Whether the gate is for this function."""
        if self.pattern is None:
            return True
        where, _, name = self.pattern.rpartition(":")
        if where and where != function.module and not _is_in(function.filename, where):
            return False
        plain = function.qualname.rpartition(".")[2]
        return fnmatchcase(function.qualname, name) or fnmatchcase(plain, name)

    def thresholds(self, base_ns: float, resolution: float = 0.0) -> tuple[float, float]:
        """The least shifts up and down that matter at this base, as logarithms of ratios.

        Args:
            base_ns: what the statistic is on the base side.
            resolution: how far off, as a logarithm, the shift can look in these recordings.
        """
        if self.ratio is not None:
            up, down = log1p(self.ratio), -log1p(self.ratio)
        else:
            share = (self.amount_ns or 0.0) / base_ns
            up, down = log1p(share), (log1p(-share) if share < 1 else -inf)
        return up + resolution, down - resolution


DEFAULT_GATES = (Gate("p50", ratio=0.03),)
"""What is judged unless something else is asked for."""


def names(pattern: str, function: Function | None = None) -> bool:
    """Whether a pattern of a gate or of ``--func`` names functions, and this one; with a wildcard it does not."""
    where, _, name = pattern.rpartition(":")
    if not _GLOB.isdisjoint(pattern):
        return False
    if function is None:
        return True
    if where and name.isdigit():
        return function.line == int(name) and _is_in(function.filename, where.removeprefix("./"))
    return function.qualname == name or function.qualname.endswith(f".{name}")


def _is_in(filename: str, where: str) -> bool:
    """Whether a file is ``app/views.py`` or the module ``app.views``, seen from any folder above."""
    module = where.replace(".", "/")
    return any(
        filename == end or filename.endswith("/" + end) for end in (where, f"{module}.py", f"{module}/__init__.py")
    )
